"""The one exception that a user's mistake raises.

Belongs here: errors whose message is meant for the person who wrote the YAML, the data or the
environment. Does not belong here: programming errors, which keep their own types and tracebacks.
"""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The message is one sentence or two: what, where, which value, and the remedy.

    Commands print it without a traceback; Dagster steps turn it into a ``Failure`` that is not
    retried.
    """
