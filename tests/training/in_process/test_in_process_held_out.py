"""The held-out loss while training: its value, its moments, and that it changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from ft_assets.training.in_process.tokens import TokenFile
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.worker import train
from resources.errors import UserError

ROWS = 10
EVERY_3 = {"num_epochs": 2, "validation_steps": 3, "validation_rows": 6}


class StoppedError(Exception):
    """Stands for whatever ends a process in the middle."""


def silent(phase: str, done: float, total: float, **details: Any) -> None:
    """A reporter that nobody listens to."""


def run(plan: Path, report: Any = silent) -> TrainOutcome:
    train(plan, report)
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return outcome


def metrics_of(plan: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (plan.parent / "metrics.jsonl").read_text().splitlines()]


def held_out_of(plan: Path) -> dict[int, float]:
    lines = metrics_of(plan)
    return {x["step"]: x["held_out_loss"] for x in lines if x["held_out_loss"] is not None}


def weights(plan: Path) -> bytes:
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return (plan.parent / outcome.model_dir / "model.safetensors").read_bytes()


def row_by_row(model_dir: Path, rows: TokenFile) -> float:
    """The mean over all trained tokens, in the plainest way."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    total, count = 0.0, 0
    with torch.no_grad():
        for index in range(len(rows)):
            row = rows[index]
            logits = model(input_ids=row.ids[None]).logits[0, :-1]
            losses = functional.cross_entropy(logits, row.ids[1:], reduction="none")
            total += float(losses[row.trained[1:]].sum())
            count += int(row.trained.sum())
    return total / count


def test_it_is_measured_every_few_steps_and_at_the_end(plan_file):
    plan = plan_file(held_out=ROWS, **EVERY_3)
    reports: dict[int, float] = {}

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        if "held_out_loss" in details:
            reports[int(done)] = details["held_out_loss"]

    run(plan, report)
    losses = held_out_of(plan)
    assert list(losses) == [3, 6, 9, 10]
    assert reports == losses
    assert list(losses.values()) == sorted(losses.values(), reverse=True)


@pytest.mark.parametrize("packing", [None, False])
def test_it_is_the_mean_over_the_trained_tokens_of_the_first_rows(plan_file, packing):
    packed = {"max_tokens_per_gpu": 128, "max_seq_len": 64, "sample_packing": packing}
    plan = plan_file(held_out=ROWS, **{**EVERY_3, **packed})
    outcome = run(plan)
    rows = TokenFile(plan.parent / "tokens-held-out")
    assert len(rows) == 6
    expected = row_by_row(plan.parent / outcome.model_dir, rows)
    assert held_out_of(plan)[10] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        {"algorithm": "sft"},
        {"algorithm": "lora_sft", "lora_dropout": 0.3, "lora_r": 4, "lora_alpha": 8},
        {"algorithm": "osft"},
    ],
)
def test_measuring_does_not_change_the_training(plan_file, values):
    """Not one bit: no random numbers are drawn and dropout is on again afterwards."""
    without = plan_file("without", num_epochs=1, **values)
    measured = plan_file(
        "with", held_out=ROWS, num_epochs=1, validation_steps=1, validation_rows=6, **values
    )
    run(without)
    run(measured)
    assert len(held_out_of(measured)) == 5
    assert weights(measured) == weights(without)
    for name in ("loss", "grad_norm", "learning_rate", "tokens"):
        assert [x[name] for x in metrics_of(measured)] == [x[name] for x in metrics_of(without)]


def test_the_speed_counts_training_only(plan_file, monkeypatch):
    """A measurement that takes for ever leaves tokens per second as they are."""
    import time

    from ft_assets.training.in_process import held_out

    now = [0.0]
    real = time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: real() + now[0])

    def slow(*given: Any) -> float:
        now[0] += 10_000
        return 1.0

    monkeypatch.setattr(held_out, "held_out_loss", slow)
    plan = plan_file(held_out=ROWS, **EVERY_3)
    outcome = run(plan)
    assert outcome.train_seconds < 1_000
    assert all(line["tokens_per_second"] > 1 for line in metrics_of(plan))
    assert all(line["eta_seconds"] < 10_000 for line in metrics_of(plan))


def test_what_was_measured_before_an_interruption_is_still_there(plan_file):
    values = {**EVERY_3, "save_samples": 16, "save_full_state": True}
    whole = plan_file("whole", held_out=ROWS, **values)
    run(whole)
    plan = plan_file(held_out=ROWS, **values)

    def stop(phase: str, done: float, total: float, **details: Any) -> None:
        if phase == "train" and done == 7 and details:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(plan, stop)
    assert run(plan).resumed_from_step == 6
    assert held_out_of(plan) == held_out_of(whole)


def test_the_state_of_a_checkpoint_holds_the_loss_of_its_step(plan_file):
    plan = plan_file(
        held_out=ROWS,
        num_epochs=2,
        validation_steps=5,
        validation_rows=6,
        checkpoint_at_epoch=True,
        save_full_state=True,
    )
    states: list[dict[str, Any]] = []

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        if done == 6:
            (file,) = plan.parent.glob("checkpoint-5/trainer_state.json")
            states.append(json.loads(file.read_text()))

    run(plan, report)
    (measured,) = [log for log in states[0]["log_history"] if "eval_loss" in log]
    assert measured["step"] == 5
    assert measured["eval_loss"] == held_out_of(plan)[5]


def test_rows_that_cannot_be_measured_are_refused_as_held_out_rows(plan_file, tmp_path):
    plan = plan_file(held_out=ROWS, **EVERY_3)
    file = tmp_path / f"held-out-{ROWS}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["messages"][1]["content"] *= 40
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match=r"first 6 held-out rows .*max_seq_len"):
        train(plan, silent)


def test_without_validation_steps_nothing_is_measured(plan_file):
    plan = plan_file(held_out=ROWS, num_epochs=1)
    run(plan)
    assert held_out_of(plan) == {}
    assert not (plan.parent / "tokens-held-out").exists()
