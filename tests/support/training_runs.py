"""Runs of the training worker in this process, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.worker import train

Report = Callable[..., None]


RESUMABLE = {"num_epochs": 3, "save_samples": 16, "save_full_state": True}
"""5 steps an epoch, a checkpoint every 2 and at each epoch's end: 2, 4, 5, 6, 8, 10, 12, 14."""


class StoppedError(Exception):
    """Stands for whatever ends a process in the middle."""


def silent(phase: str, done: float, total: float, **details: Any) -> None:
    """A reporter that nobody listens to."""


class Said:
    """A reporter that keeps what it was told, but for the steps."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, phase: str, done: float, total: float, **details: Any) -> None:
        if phase != "train":
            told = " ".join(f"{name}={value}" for name, value in details.items())
            self.lines.append(f"{phase} {done:g} {told}".strip())


def run(plan: Path, report: Report = silent) -> TrainOutcome:
    """Train to the end."""
    train(plan, report)
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return outcome


def weights(plan: Path) -> bytes:
    """The bytes of the model's weights."""
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return (plan.parent / outcome.model_dir / "model.safetensors").read_bytes()


def metrics_of(plan: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (plan.parent / "metrics.jsonl").read_text().splitlines()]


def stop_at(step: int) -> Report:
    """A reporter that ends the run after a step, before a checkpoint of it is written."""

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        if phase == "train" and done == step and details:
            raise StoppedError

    return report


def interrupted(plan: Path, step: int = 7) -> Path:
    """Begin a run and stop it after a step."""
    with pytest.raises(StoppedError):
        train(plan, stop_at(step))
    assert TrainOutcome.load(plan.parent) is None
    return plan


def flip_a_bit(file: Path) -> None:
    """In the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    """By one byte."""
    file.write_bytes(file.read_bytes()[:-1])
