"""CEL's rules, as the API server runs them, with the recursion limit left as it was."""

from __future__ import annotations

import sys

import celpy


def cel_environment() -> celpy.Environment:
    """An environment of celpy, which raises the limit for the whole process when it is made."""
    limit = sys.getrecursionlimit()
    try:
        return celpy.Environment()
    finally:
        sys.setrecursionlimit(limit)
