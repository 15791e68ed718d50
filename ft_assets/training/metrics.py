"""One schema for what a training run says of its steps, whatever its backend writes.

``metrics.jsonl`` in the run folder and beside the model holds one :class:`StepMetrics` per line, in
order of the steps. Numbers that are not finite stand there as the texts "NaN", "Infinity" and
"-Infinity", which JSON has no numbers for: they are what a person looks for first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ConfigDict, Field

from resources.record import Record

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_DIR = "tensorboard"
"""Beside it, where the run writes TensorBoard files too."""


class StepMetrics(Record):
    """One optimizer step. None stands for what the backend does not say, or not at this step."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    time: float = Field(default_factory=time.time)
    """Seconds since 1970."""
    step: int
    """Optimizer steps done, from 1."""
    total_steps: int | None
    epoch: float
    """Passes over the training rows so far, with a fraction."""
    loss: float
    """Mean over the trained tokens of the step, in nats."""
    held_out_loss: float | None = None
    """Mean over the trained tokens of the held-out rows, in nats, where it was measured."""
    learning_rate: float | None
    grad_norm: float | None
    """Norm of all gradients before they are cut."""
    tokens: int | None = None
    """Non-padding tokens processed since the run began."""
    trained_tokens: int | None = None
    """Those among them that were trained on."""
    tokens_per_second: float | None = None
    """Of the step alone; measuring held-out rows and writing checkpoints are no part of it."""
    memory_mib: float | None = None
    """Of the process (CPU) or of one GPU."""
    eta_seconds: float | None = None

    def line(self) -> str:
        """The line of metrics.jsonl, with its end."""
        return self.model_dump_json() + "\n"

    def numbers(self) -> dict[str, float | str]:
        """What is known, as JSON can hold it: numbers that are not finite are texts."""
        return {name: json_number(v) for name, v in self.model_dump(exclude_none=True).items()}


def json_number(value: float) -> float | str:
    """A number, or "NaN", "Infinity" or "-Infinity"."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def read_metrics(file: Path) -> Iterator[StepMetrics]:
    """The steps of a metrics file, one by one; a last line that was cut off is left out."""
    if not file.exists():
        return
    with file.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield StepMetrics.model_validate_json(line)
