"""A GPU backend's end is explained, and nothing that it started is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ft_assets.training.plan import TrainPlan
from ft_assets.training.torchrun import (
    call,
    prepare,
    spare_processes,
    stop_processes,
    tail,
)
from resources.errors import UserError


@pytest.fixture
def plan(plan_file) -> TrainPlan:
    return TrainPlan.model_validate_json(plan_file().read_text())


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before, when the test is over."""
    for name in ("HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "CHECKPOINT_TRIGGER_FILENAME", "PATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def fails(log: Path, line: str):
    """A backend that writes a log, and says no more than that it failed."""

    def train() -> None:
        log.write_text(line)
        raise RuntimeError("Training failed. Please check the logs")

    return train


def test_what_the_log_explains_is_said_in_its_place(plan, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(UserError, match=r"the GPU ran out of memory: set training\.max_tokens"):
        call(fails(log, "CUDA out of memory"), plan, log)


def test_what_may_end_well_the_next_time_is_no_refusal(plan, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(RuntimeError, match="could not talk to each other"):
        call(fails(log, "NCCL error: unhandled"), plan, log)


def test_what_is_not_known_is_raised_as_it_is(plan, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(RuntimeError, match="Please check the logs"):
        call(fails(log, "something else"), plan, log)


def test_the_log_of_an_earlier_attempt_explains_nothing(plan, tmp_path):
    log = tmp_path / "log"
    log.write_text("CUDA out of memory")

    def train() -> None:
        raise RuntimeError("no log")

    with pytest.raises(RuntimeError, match="no log"):
        call(train, plan, log)


def test_the_end_of_a_long_log_is_enough(tmp_path):
    log = tmp_path / "log"
    log.write_text("x" * 200_000 + "CUDA out of memory")
    assert tail(log).endswith("CUDA out of memory")
    assert len(tail(log)) < 100_000


def test_a_signal_ends_the_processes_and_interrupts(plan, tmp_path):
    started: list[subprocess.Popen[bytes]] = []

    def train() -> None:
        started.append(subprocess.Popen(["sleep", "60"]))
        os.kill(os.getpid(), signal.SIGTERM)
        started[0].wait(30)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        call(train, plan, tmp_path / "log")
    assert started[0].wait(30) == -signal.SIGKILL
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_torchrun_the_run_is_refused_before_it_trains(
    plan, tmp_path, environment, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UserError, match="torchrun is not on the PATH"):
        prepare(plan, tmp_path)


def test_two_runs_on_one_machine_have_triggers_of_their_own(plan, tmp_path, environment):
    prepare(plan, tmp_path)
    one = os.environ["CHECKPOINT_TRIGGER_FILENAME"]
    prepare(plan.model_copy(update={"fingerprint": "f" * 64}), tmp_path)
    assert os.environ["CHECKPOINT_TRIGGER_FILENAME"] != one


def test_a_trigger_that_is_left_over_does_not_end_the_next_run(plan, tmp_path, environment):
    left = Path("/dev/shm") / f"checkpoint_requested_{plan.fingerprint[:16]}"
    left.touch()
    prepare(plan, tmp_path)
    assert not left.exists()


def test_torchrun_ends_when_the_training_process_is_killed(plan, tmp_path, environment):
    """Through the command that is first on the path after ``prepare``."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "torchrun").write_text('#!/bin/sh\necho $$ > "$1"\nexec sleep 60\n')
    (real / "torchrun").chmod(0o755)
    os.environ["PATH"] = f"{real}{os.pathsep}{os.environ['PATH']}"
    prepare(plan, tmp_path)
    written = tmp_path / "pid"
    script = f"import subprocess; subprocess.run(['torchrun', {str(written)!r}])"
    parent = subprocess.Popen([sys.executable, "-c", script])
    until = time.monotonic() + 30
    while not (written.exists() and written.read_text().strip()) and time.monotonic() < until:
        time.sleep(0.02)
    torchrun = psutil.Process(int(written.read_text()))
    parent.kill()
    parent.wait()
    torchrun.wait(30)  # raises where it goes on


def test_only_what_the_backend_started_is_stopped():
    """Whoever trains in a process of its own has other children."""
    other = subprocess.Popen(["sleep", "600"])
    spare_processes()
    its_own = subprocess.Popen(["sleep", "600"])
    try:
        stop_processes()
        assert its_own.wait(30) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
