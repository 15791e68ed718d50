"""How long the nodes of one training wait for each other; set in the environment, in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from resources.errors import UserError

NODES_TIMEOUT = "FT_NODES_TIMEOUT"
"""For a node that gives no sign of life: not started yet, or gone. Default 900."""

COLLECTIVE_TIMEOUT = "FT_COLLECTIVE_TIMEOUT"
"""For one exchange between training processes; one writes a checkpoint while the others wait.
Default 1800."""

_DEFAULTS = {NODES_TIMEOUT: 900, COLLECTIVE_TIMEOUT: 1800}


def limit(environment: Mapping[str, str], name: str) -> timedelta:
    """One of the two times.

    Raises:
        UserError: it is no whole number of seconds.
    """
    text = environment.get(name) or str(_DEFAULTS[name])
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"{name}: {text!r} is no whole number of seconds from 1: set one")
    return timedelta(seconds=int(text))
