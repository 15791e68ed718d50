"""One asset and drop is made by one run at a time, on one home."""

from __future__ import annotations

import subprocess
import sys

from resources.home import Home
from resources.store import this_holder

_HOLDER = """
import sys
from resources.home import Home
from resources.store import this_holder
with Home(path=sys.argv[1]).exclusively("demo", this_holder("run-1", "train"), lambda _: None):
    print("held", flush=True)
    sys.stdin.read()
"""
SECOND = this_holder("run-2", "train")


def hold(home):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_another_process_waits_until_the_first_is_done(tmp_path):
    holder = hold(tmp_path)
    waited = []

    def on_wait(other):
        waited.append(other)
        holder.stdin.close()  # the first one comes to its end

    with Home(path=str(tmp_path)).exclusively("demo", SECOND, on_wait):
        assert holder.wait(timeout=10) == 0
    (first,) = waited
    assert (first.run_id, first.step, first.pid) == ("run-1", "train", holder.pid)


def test_the_lock_goes_with_a_killed_process(tmp_path):
    holder = hold(tmp_path)
    holder.kill()
    holder.wait()
    waited = []
    with Home(path=str(tmp_path)).exclusively("demo", SECOND, waited.append):
        assert waited == []


def test_other_names_do_not_wait(tmp_path):
    holder = hold(tmp_path)
    waited = []
    with Home(path=str(tmp_path)).exclusively("other", SECOND, waited.append):
        assert waited == []
    holder.kill()
    holder.wait()
