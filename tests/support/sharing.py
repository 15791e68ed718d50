"""Which tests go to one process, those that share what takes minutes to make, and which come first.

xdist's own ``--dist loadgroup`` finds its groups by a suffix of the node id, which this pytest does
not let it write. Here a test's file says what it shares, so that the marks need no second list.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent.parent.parent
SHARED = {
    "mark.k8s": "the control plane",
    "workshop: Workshop": "the images",
    'ft(home, "demo"': "the demo",
    "running_ui(": "the UI",
}
"""By what a file has in it."""


_TIMEOUT = re.compile(r"mark\.timeout\((\d+)\)")


class BySharedThings(LoadScopeScheduling):
    """The tests of one shared thing stay together, and those of a file: they share its fixtures."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.workqueue = _LongestFirst()

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return shared_by(file) or file


class _LongestFirst(OrderedDict[str, dict[str, bool]]):
    """What is taken last should be short: the other process waits for it."""

    def popitem(self, last: bool = True) -> tuple[str, dict[str, bool]]:
        scope = max(self, key=weight)
        return scope, self.pop(scope)


@cache
def weight(scope: str) -> int:
    """How long a file, or all that share a thing, may take: the files themselves say it."""
    if scope in SHARED.values():
        return 3600
    text = (ROOT / scope).read_text()
    limits = [int(seconds) for seconds in _TIMEOUT.findall(text)]
    return max(limits, default=300 if "mark.slow" in text else 0)


@cache
def shared_by(file: str) -> str | None:
    """What the tests of a file share with those of other files."""
    text = (ROOT / file).read_text()
    return next((thing for sign, thing in SHARED.items() if sign in text), None)
