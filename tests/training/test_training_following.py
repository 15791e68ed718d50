"""The metrics file of a GPU backend becomes ours while it is written, step by step."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training.following import Follower, following
from ft_assets.training.metrics import read_metrics
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError


@pytest.fixture
def plan(plan_file) -> TrainPlan:
    return TrainPlan.model_validate_json(plan_file().read_text())


class Reports(list[tuple[Any, ...]]):
    """A reporter that keeps what it is told; ``waiting`` is set at the first report."""

    def __init__(self) -> None:
        super().__init__()
        self.first = threading.Event()

    def __call__(self, phase: str, done: float, total: float, **details: Any) -> None:
        self.append((phase, done, total, details["loss"]))
        self.first.set()


def as_they_are(line: dict[str, Any]) -> dict[str, Any] | None:
    """A backend that writes our own names."""
    return line or None


def line(step: int, loss: float = 2.0, **further: Any) -> str:
    fields = {
        "step": step,
        "total_steps": 4,
        "epoch": step / 4,
        "loss": loss,
        "learning_rate": 1e-5,
        "grad_norm": None,
        "tokens": 100,
        "trained_tokens": 10,
        "seconds": 2.0,
        "memory_mib": 10.0 * step,
    }
    return json.dumps({**fields, **further}) + "\n"


@pytest.fixture
def theirs(tmp_path) -> Path:
    return tmp_path / "theirs.jsonl"


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def follower(theirs, tmp_path, plan, reports) -> Follower:
    return Follower(theirs, tmp_path, as_they_are, plan, reports)


def ours(run_dir: Path) -> list[Any]:
    return list(read_metrics(run_dir / "metrics.jsonl"))


def test_before_the_backend_writes_there_is_nothing(follower, tmp_path):
    follower.read(ended=True)
    assert ours(tmp_path) == []
    assert (follower.steps, follower.first_loss, follower.last_loss) == (0, None, None)


def test_a_half_written_line_waits_until_it_is_whole(follower, theirs, tmp_path, reports):
    theirs.write_text("{}\n" + line(1, 2.5) + line(2, 2.0)[:20])
    follower.read()
    with theirs.open("a") as stream:
        stream.write(line(2, 2.0)[20:])
    follower.read(ended=True)
    assert reports == [("train", 1, 4, 2.5), ("train", 2, 4, 2.0)]
    assert [(m.step, m.loss) for m in ours(tmp_path)] == [(1, 2.5), (2, 2.0)]


def test_a_held_out_loss_on_a_line_of_its_own_joins_the_step_before(follower, theirs, tmp_path):
    theirs.write_text(line(1) + json.dumps({"held_out_loss": 1.5}) + "\n" + line(2))
    follower.read(ended=True)
    assert [m.held_out_loss for m in ours(tmp_path)] == [1.5, None]
    assert follower.held_out_loss_of("last") is None
    assert follower.held_out_loss_of("best") == 1.5


def test_a_held_out_loss_from_after_the_last_step_joins_it(follower, theirs, tmp_path):
    theirs.write_text(line(1, held_out_loss=1.0) + line(2))
    follower.read(ended=True)
    follower.measured_at_the_end(1.5)
    assert [m.held_out_loss for m in ours(tmp_path)] == [1.0, 1.5]
    assert follower.held_out_loss_of("last") == 1.5
    assert follower.held_out_loss_of("best") == 1.0


def test_counts_are_summed_and_the_time_that_is_left_follows(follower, theirs, tmp_path):
    theirs.write_text(line(1) + line(2, seconds=4.0))
    follower.read(ended=True)
    second = ours(tmp_path)[1]
    assert (second.tokens, second.trained_tokens) == (200, 20)
    assert second.tokens_per_second == 25  # of the step alone
    assert second.eta_seconds == 6.0  # two steps, of three seconds on average
    assert (follower.seconds, follower.tokens, follower.peak_memory_mib) == (6.0, 200, 20.0)


def test_a_backend_that_counts_no_tokens_leaves_them_out(follower, theirs, tmp_path):
    theirs.write_text(line(1, tokens=None) + line(2))
    follower.read(ended=True)
    assert [m.tokens for m in ours(tmp_path)] == [None, None]
    assert follower.tokens is None


def test_a_run_that_goes_on_keeps_the_steps_before(theirs, tmp_path, plan, reports):
    first = Follower(theirs, tmp_path, as_they_are, plan, reports)
    theirs.write_text(line(1, 4.0) + line(2, 3.0) + line(3, 2.9))
    first.read(ended=True)
    theirs.write_text(line(3, 2.0) + line(4, 1.0))  # the third was lost with its process
    second = Follower(theirs, tmp_path, as_they_are, plan, reports)
    second.read(ended=True)
    assert [(m.step, m.loss) for m in ours(tmp_path)] == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    assert [m.tokens for m in ours(tmp_path)] == [100, 200, 300, 400]
    assert (second.resumed_from, second.first_loss, second.last_loss) == (2, 4.0, 1.0)
    assert second.tokens == 200  # of this attempt


def test_a_run_that_begins_again_keeps_nothing(theirs, tmp_path, plan, reports):
    theirs.write_text(line(1, 4.0) + line(2, 3.0))
    Follower(theirs, tmp_path, as_they_are, plan, reports).read(ended=True)
    theirs.write_text(line(1, 2.0))
    again = Follower(theirs, tmp_path, as_they_are, plan, reports)
    again.read(ended=True)
    assert [(m.loss, m.tokens) for m in ours(tmp_path)] == [(2.0, 100)]
    assert again.peak_memory_mib == 10.0, "the first step's, not that of the second of before"
    assert (again.resumed_from, again.first_loss) == (0, 2.0)


def test_steps_arrive_while_the_block_runs(theirs, tmp_path, plan, reports):
    theirs.write_text(line(9))  # of an earlier run: their log would append to it
    with following(theirs, tmp_path, as_they_are, plan, reports, poll_seconds=0.01) as followed:
        assert not theirs.exists()
        theirs.write_text(line(1) + line(2))
        assert reports.first.wait(30)
    assert followed.steps == 2
    assert [report[1] for report in reports] == [1, 2]


def test_a_loss_that_is_not_finite_stays_visible_and_ends_the_backend(
    theirs, tmp_path, plan, reports
):
    backend = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    def train() -> None:
        with following(theirs, tmp_path, as_they_are, plan, reports, poll_seconds=0.01):
            theirs.write_text(line(1, math.nan) + line(2))
            assert backend.wait(30) == -9
            raise RuntimeError  # what a backend makes of it

    with pytest.raises(UserError, match=r"training\.learning_rate"):
        train()
    assert math.isnan(ours(tmp_path)[0].loss)


def test_a_line_that_cannot_be_read_is_an_error_and_not_silence(theirs, tmp_path, plan, reports):
    with (
        pytest.raises(json.JSONDecodeError),
        following(theirs, tmp_path, as_they_are, plan, reports, poll_seconds=0.01),
    ):
        theirs.write_text("no json\n")
