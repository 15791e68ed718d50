"""Real processes, really killed: what was begun is ended, with the same weights to the last bit."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training.in_process.interruption import Interruption
from ft_assets.training.model_choice import ModelChoice
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from resources.launcher.child import INTERRUPTED_EXIT
from tests.support.warm_worker import Ended, Kill, WarmWorkers, warm_workers

pytestmark = pytest.mark.slow

INTERVAL = 2
"""Steps between two checkpoints: 16 rows in batches of 8. An epoch has 5 steps, a run 15."""

SHARED = {"num_epochs": 3, "save_samples": 16, "save_full_state": True}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sft": {"algorithm": "sft", **SHARED},
    "osft": {"algorithm": "osft", "unfreeze_rank_ratio": 0.5, **SHARED},
    "lora_sft": {"algorithm": "lora_sft", "lora_r": 4, "lora_dropout": 0.1, **SHARED},
}


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmWorkers]:
    with warm_workers(tmp_path_factory.mktemp("workers")) as started:
        yield started


def weights(plan: Path) -> bytes:
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return (plan.parent / outcome.model_dir / "model.safetensors").read_bytes()


def steps_of(plan: Path) -> list[int]:
    """The whole lines of the metrics, so far."""
    file = plan.parent / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def losses_of(plan: Path) -> list[float]:
    lines = (plan.parent / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def went_on_from(ended: Ended) -> int:
    """The step that a process went on from, as it says itself; 0 for the start."""
    said = re.findall(r"^resume (\d+)/0 checkpoint=checkpoint", ended.said, re.MULTILINE)
    return int(said[-1]) if said else 0


# One moment after the other, each in the process that goes on from the one before.

MOMENTS: dict[str, Kill] = {
    "data, while tokens are written": ("open", "tokens/trained.bin", 1),
    "data, before the last file": ("open", "tokens/offsets.bin", 1),
    "start, before the first step": ("open", "metrics.jsonl", 1),
    "step, after the optimizer and before its line": ("open", "metrics.jsonl", 3),
    "checkpoint, before its files": ("os.mkdir", "partial/checkpoint-4", 1),
    "checkpoint, between its files": ("open", "partial/checkpoint-5/trainer_state.json", 1),
    "checkpoint, before its manifest": ("open", "partial/checkpoint-6/manifest.json", 1),
    "checkpoint, before it counts": ("os.rename", "partial/checkpoint-8", 1),
    "checkpoint, while an older one goes": ("shutil.rmtree", "checkpoint-6", 1),
    "model, while it is written": ("open", "samples_120.partial/config.json", 1),
    "model, before its place": ("os.rename", "samples_120.partial", 1),
    "model, before it is verified": ("open", "samples_120/config.json", 1),
    "model, before it is named": ("open", "model_choice.json.partial", 1),
    "outcome, before it is written": ("open", "outcome.json.partial", 1),
    "outcome, before it counts": ("os.rename", "outcome.json.partial", 1),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_killed_at_every_phase_ends_with_the_same_weights(plan_file, workers, algorithm):
    whole = plan_file("whole", **ALGORITHMS[algorithm])
    assert workers.run(whole).status == 0
    plan = plan_file("killed", **ALGORITHMS[algorithm])
    for moment, kill in MOMENTS.items():
        before = max(steps_of(plan), default=0)
        ended = workers.run(plan, kill=kill)
        assert ended.status == -signal.SIGKILL, f"{moment}: {ended.said}"
        assert TrainOutcome.load(plan.parent) is None, moment
        if not moment.startswith("data"):
            assert before - went_on_from(ended) <= INTERVAL, moment
    ended = workers.run(plan)
    assert ended.status == 0, ended.said
    assert went_on_from(ended) == 14, "the checkpoints were used"
    assert weights(plan) == weights(whole)
    assert losses_of(plan) == losses_of(whole)
    assert steps_of(plan) == list(range(1, 16))


@pytest.mark.parametrize("choice", ["last", "best"])
def test_a_run_killed_at_any_time_ends_with_the_same_weights(plan_file, workers, choice):
    """At the n-th thing of any kind that the process does in its folder, n by lot."""
    values = {**ALGORITHMS["sft"], "learning_rate": 2e-2}
    whole, plan = (chosen(plan_file(name, **values), choice) for name in ("whole", "killed"))
    assert workers.run(whole).status == 0
    lot = random.Random(7)
    kills = 0
    for _ in range(25):
        before = max(steps_of(plan), default=0)
        ended = workers.run(plan, kill=("", str(plan.parent), lot.randint(1, 160)))
        if ended.status == 0:
            break
        assert ended.status == -signal.SIGKILL, ended.said
        kills += 1
        if "resume" in ended.said:
            assert before - went_on_from(ended) <= INTERVAL
    else:
        assert workers.run(plan).status == 0
    assert kills > 3
    assert weights(plan) == weights(whole)
    assert ModelChoice.load(plan.parent) == ModelChoice.load(whole.parent)


def chosen(plan: Path, choice: str) -> Path:
    """The plan with a held-out loss at each step; the rows are those of training."""
    given = TrainPlan.model_validate_json(plan.read_text())
    further = {"validation_steps": 1, "validation_rows": 8} if choice == "best" else {}
    changed = {
        "held_out_file": given.train_file,
        "checkpoint_choice": choice,
        "parameters": {**given.parameters, **further},
    }
    plan.write_text(given.model_copy(update=changed).model_dump_json())
    return plan


def test_a_run_killed_inside_a_step_loses_at_most_an_interval(plan_file, workers):
    whole = plan_file("whole", **ALGORITHMS["sft"])
    assert workers.run(whole).status == 0
    plan = plan_file("killed", **ALGORITHMS["sft"])
    ended = workers.run(plan, send=(signal.SIGKILL, lambda said: "train 7/15" in said))
    assert ended.status == -signal.SIGKILL
    reached = max(steps_of(plan))
    ended = workers.run(plan)
    assert reached - went_on_from(ended) <= INTERVAL
    assert weights(plan) == weights(whole)


# Asked to end.


def after(text: str) -> Callable[[str], bool]:
    return lambda said: text in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_process_that_is_asked_to_end_writes_a_checkpoint_first(
    plan_file, workers, algorithm, number
):
    """Without ``save_full_state`` too: no checkpoint was due."""
    values = {
        **ALGORITHMS[algorithm],
        "save_samples": 0,
        "save_full_state": False,
        "checkpoint_at_epoch": False,
    }
    if algorithm == "sft":
        values["checkpoint_at_epoch"] = True
    whole = plan_file("whole", **values)
    assert workers.run(whole).status == 0
    plan = plan_file("asked", **values)
    ended = workers.run(plan, send=(number, after("train 3/15")))
    assert ended.status == INTERRUPTED_EXIT, ended.said
    assert "Traceback" not in ended.said
    assert not (plan.parent / "error.json").exists(), "it is nobody's bad input"
    assert TrainOutcome.load(plan.parent) is None
    reached = max(steps_of(plan))
    assert reached >= 3
    assert f"interrupted {reached}/15 checkpoint=checkpoint-{reached}" in ended.said

    ended = workers.run(plan)
    assert ended.status == 0, ended.said
    assert went_on_from(ended) == reached, "nothing is done again"
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    assert outcome.resumed_from_step == reached
    assert weights(plan) == weights(whole)


def test_before_the_first_step_there_is_nothing_to_wait_for(plan_file, workers):
    plan = plan_file(**ALGORITHMS["sft"])
    ended = workers.run(plan, send=(signal.SIGTERM, after("tokenize")))
    assert ended.status == INTERRUPTED_EXIT
    assert steps_of(plan) == []
    assert workers.run(plan).status == 0


def test_an_error_that_takes_the_interrupts_place_is_an_interrupt_all_the_same():
    """numpy's ``tofile`` raises a TypeError where the signal came while it looked at the file."""
    with pytest.raises(KeyboardInterrupt), Interruption(ignore).listening():
        told_to_end_within_c_code()


def test_an_error_without_a_signal_stays_what_it_is():
    with pytest.raises(TypeError), Interruption(ignore).listening():
        raise TypeError("of its own")


def told_to_end_within_c_code() -> None:
    """What numpy makes of the interrupt."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise TypeError("expected str, bytes or os.PathLike object") from None


def ignore(phase: str, done: float, total: float, **details: Any) -> None:
    """Reports that nobody reads."""


def test_asked_again_and_again_it_still_ends_well(plan_file, workers):
    """Ctrl-C reaches the process from the terminal and from the step."""
    plan = plan_file(**ALGORITHMS["sft"])
    ended = workers.run(plan, send=(signal.SIGINT, after("train 4/15")), times=20)
    assert ended.status == INTERRUPTED_EXIT
    assert "Traceback" not in ended.said
    reached = max(steps_of(plan))
    assert went_on_from(workers.run(plan)) == reached


def test_once_the_steps_are_done_the_model_is_written_all_the_same(plan_file, workers):
    plan = plan_file(**ALGORITHMS["sft"])
    ended = workers.run(plan, send=(signal.SIGTERM, after("train 15/15")))
    assert ended.status == 0, ended.said
    assert ModelChoice.load(plan.parent) is not None


def test_a_worker_started_as_the_step_starts_it_goes_on_too(plan_file):
    """Without the server of this file: ``python -m``, SIGKILL in the middle of a step."""
    values = {"num_epochs": 20, "save_samples": 8, "save_full_state": True}
    plan = plan_file("killed", **values)
    command = [sys.executable, "-m", "ft_assets.training.worker", str(plan)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("train 7/100"):
            process.kill()
            break
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL
    assert TrainOutcome.load(plan.parent) is None

    resumed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    assert outcome.resumed_from_step >= 5
    assert steps_of(plan) == list(range(1, 101))
