"""Workers that are forked from a process with their libraries imported are workers as any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from resources.launcher.child import WARM
from resources.launcher.warm import HOST, WANTED, can_be_warm, worker_command
from resources.launcher.warm_host import differing
from tests.support.worker_processes import MODULE, worker_environment

PATIENCE = 30


@pytest.fixture
def plan(tmp_path: Path):
    """Write a plan for the small worker; gives its file."""

    def write(**plan: Any) -> Path:
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(plan))
        return file

    return write


def start(plan: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        worker_command(MODULE, plan),
        env=worker_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(plan: Path, **environment: str) -> tuple[int, str]:
    """How a worker ended, and what it said on stderr."""
    worker = start(plan, **environment)
    _, said = worker.communicate(timeout=PATIENCE)
    return worker.returncode, said


def seen(plan: Path) -> dict[str, str]:
    """The environment that the worker had."""
    return json.loads(plan.with_name("environment.json").read_text())


def was_forked(plan: Path) -> bool:
    return WARM in seen(plan)


def waiting(plan: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Who stands for a worker that waits, and the worker itself."""
    stands_for = start(plan)
    file = plan.with_name("pid")
    ends = time.monotonic() + PATIENCE
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < ends
        time.sleep(0.01)
    return stands_for, psutil.Process(int(file.read_text()))


def is_gone(process: psutil.Process) -> bool:
    return psutil.wait_procs([process], timeout=PATIENCE)[0] == [process]


# --- who is forked


def test_the_first_worker_imports_by_itself_and_the_next_is_forked(warm_host, plan):
    end = plan(then="end")
    assert run(end)[0] == 0
    assert not was_forked(end), "the host has imported nothing yet"
    assert run(end)[0] == 0
    assert was_forked(end)


def test_without_a_host_a_worker_is_a_process_like_any_other(cold_workers, plan):
    end = plan(then="end")
    assert worker_command(MODULE, end) == [sys.executable, "-m", MODULE, str(end)]
    assert run(end)[0] == 0
    assert not was_forked(end)


def test_a_host_that_is_gone_is_done_without(warm_workers, plan):
    warm_workers.kill()
    warm_workers.wait()
    end = plan(then="end")
    assert run(end)[0] == 0
    assert not was_forked(end)


def test_a_variable_that_a_library_may_read_makes_a_worker_import_by_itself(warm_workers, plan):
    end = plan(then="end")
    assert run(end, HF_HOME="/elsewhere")[0] == 0
    assert not was_forked(end)
    assert seen(end)["HF_HOME"] == "/elsewhere"


def test_a_variable_of_the_step_reaches_a_forked_worker(warm_workers, plan):
    end = plan(then="end")
    assert run(end, FT_STORE="s3://bucket", DAGSTER_RUN="7")[0] == 0
    assert was_forked(end)
    assert (seen(end)["FT_STORE"], seen(end)["DAGSTER_RUN"]) == ("s3://bucket", "7")


def test_a_variable_that_the_libraries_set_themselves_is_no_difference():
    before = {"HOME": "/root", "A": "1"}
    after = {**before, "TORCHINDUCTOR_CACHE_DIR": "/tmp/x"}
    assert differing(after, before, after) == set()
    assert differing(before, before, after) == set()
    assert differing({**after, "A": "2"}, before, after) == {"A"}
    assert differing({"HOME": "/root"}, before, after) == {"A"}


def test_a_worker_with_settings_for_its_libraries_starts_over_without_the_host(warm_workers, plan):
    end = plan(then="end", env={"HF_HOME": "/elsewhere"})
    assert run(end)[0] == 0
    assert not was_forked(end)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_nobody_else_gets_a_worker_from_it(warm_workers, plan):
    end = plan(then="end")
    client = """
import os, socket, sys
os.setuid(65534)
asking = socket.socket(socket.AF_UNIX)
asking.connect("\\0" + sys.argv[1])
try:
    print(asking.recv(1))
except ConnectionError:
    print(b"")
"""
    said = subprocess.run(
        [sys.executable, "-c", client, os.environ[HOST]],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert said.stdout == "b''\n", "hung up on"
    assert run(end)[0] == 0
    assert was_forked(end)


def test_a_machine_can_do_without_it(monkeypatch, cold_workers):
    monkeypatch.setenv(WANTED, "0")
    assert not can_be_warm()


# --- how it ends


@pytest.mark.parametrize(
    ("then", "status"),
    [("end", 0), ("refuse", 2), ("fail", 1), ("interrupted", 130), ("killed", -9)],
)
def test_it_ends_as_its_worker_does(warm_workers, plan, then, status):
    assert run(plan(then=then))[0] == status


def test_what_the_worker_says_is_said_where_it_was_started(warm_workers, plan):
    _, said = run(plan(then="refuse", steps=2))
    assert said.splitlines() == [
        "work 1/2 loss=1.0",
        "work 2/2 loss=0.5",
        "row 7 of the plan is not valid: mend it",
    ]


def test_a_signal_reaches_the_worker(warm_workers, plan):
    stands_for, worker = waiting(plan(then="wait"))
    stands_for.send_signal(signal.SIGINT)
    assert stands_for.wait(PATIENCE) == 130, "the worker caught it, and says so"
    assert is_gone(worker)


def test_a_worker_goes_with_who_started_it(warm_workers, plan):
    stands_for, worker = waiting(plan(then="wait"))
    stands_for.kill()
    assert is_gone(worker)
    stands_for.communicate()


def test_a_worker_goes_with_its_host_and_the_next_does_without(warm_workers, plan):
    stands_for, worker = waiting(plan(then="wait"))
    warm_workers.kill()
    assert stands_for.wait(PATIENCE) == -signal.SIGKILL
    assert is_gone(worker)
    end = plan(then="end")
    assert run(end)[0] == 0


def test_a_host_goes_with_its_owner(tmp_path):
    owner = """
import sys, time
from resources.launcher.warm import start_warm_host
print(start_warm_host([]).pid, flush=True)
time.sleep(120)
"""
    environment = worker_environment()
    environment.pop(HOST, None)
    process = subprocess.Popen(
        [sys.executable, "-c", owner], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    host = psutil.Process(int(process.stdout.readline()))
    process.kill()
    assert is_gone(host)
    process.communicate()


def test_no_process_stays_behind(warm_workers, plan):
    host = psutil.Process(warm_workers.pid)
    for _ in range(3):
        assert run(plan(then="end"))[0] == 0
    gone, alive = psutil.wait_procs(host.children(recursive=True), timeout=PATIENCE)
    assert not alive
    assert len(gone) <= 1, "the last guard, if it had not ended yet"
