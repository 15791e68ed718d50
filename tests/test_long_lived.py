"""Loading sets the collector aside, once in a process."""

import json
import subprocess
import sys

PROGRAM = """
import gc, json
from ft_assets.long_lived import LongLived
{before}
with LongLived():
    inside = gc.isenabled()
    kept = [[] for _ in range(10)]
first = gc.get_freeze_count()
with LongLived():
    again = [[] for _ in range(10)]
print(json.dumps({{
    "inside": inside,
    "after": gc.isenabled(),
    "set_apart": first > 0,
    "more": gc.get_freeze_count() - first,
    "looked_at": sum(any(one is other for other in kept) for one in gc.get_objects()),
    "looked_at_again": sum(any(one is other for other in again) for one in gc.get_objects()),
}}))
"""


def _run(before: str = "") -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_collector_pauses_and_never_goes_through_what_was_made():
    found = _run()
    assert not found["inside"]
    assert found["after"]
    assert found["set_apart"]
    assert found["looked_at"] == 0


def test_what_is_loaded_again_is_collected_as_everything_else():
    found = _run()
    assert found["more"] == 0
    assert found["looked_at_again"] == 10


def test_a_collector_that_is_off_stays_off():
    found = _run("gc.disable()")
    assert not found["after"]
    assert not found["set_apart"]


def test_the_code_location_is_loaded_so():
    program = "import gc, ft_assets.definitions; print(gc.isenabled(), gc.get_freeze_count())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    enabled, count = done.stdout.split()
    assert enabled == "True"
    assert int(count) > 50_000
