"""Which tests go to one process: those that share what takes minutes to make.

xdist's own ``--dist loadgroup`` finds its groups by a suffix of the node id, which this pytest does
not let it write. Here a test's file says what it shares, so that the marks need no second list.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent.parent.parent
SHARED = {
    "mark.k8s": "the control plane",
    "workshop: Workshop": "the images",
    'ft(home, "demo"': "the demo",
    "running_ui(": "the UI",
}
"""By what a file has in it."""


class BySharedThings(LoadScopeScheduling):
    """Each test goes where there is room; the tests of one shared thing stay together."""

    def _split_scope(self, nodeid: str) -> str:
        return shared_by(nodeid.partition("::")[0]) or nodeid


@cache
def shared_by(file: str) -> str | None:
    """What the tests of a file share with those of other files."""
    text = (ROOT / file).read_text()
    return next((thing for sign, thing in SHARED.items() if sign in text), None)
