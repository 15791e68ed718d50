"""Progress of the steps at work in this process, for whoever wants to show it.

``ft run`` executes steps in its own process and draws bars; elsewhere nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

Listener = Callable[[str, Mapping[str, Any]], None]
"""Called with the asset's name and a report: phase, done, total and further numbers."""

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Hear every report while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def report(asset: str, progress: Mapping[str, Any]) -> None:
    """Tell all listeners."""
    for listener in tuple(_listeners):
        listener(asset, progress)
