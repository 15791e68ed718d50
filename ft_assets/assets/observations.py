"""A training run as observations of its asset, so that the UI draws it while it trains.

At most about a hundred per run: the whole curve is in metrics.jsonl.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

MOST = 100
"""Observations of one run."""
LEAST_SECONDS = 1.0
"""Between two of them: a run of quick steps is not held up by the event log."""
_NUMBERS = (
    "loss",
    "held_out_loss",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "memory_mib",
    "eta_seconds",
    "epoch",
)


class TrainingObserver:
    """Turns the reports of a training process into asset observations, at a bounded rate."""

    def __init__(
        self,
        log_event: Callable[[dg.AssetObservation], None],
        asset_key: list[str],
        partition: str | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log_event = log_event
        self._asset_key = dg.AssetKey(asset_key)
        self._partition = partition
        self._clock = clock
        self._next_step = 0.0
        self._next_time = -math.inf
        self._held_out: dict[str, Any] = {}

    def __call__(self, progress: Mapping[str, Any]) -> None:
        """Take in one report; those of other phases and steps in between are left out.

        The first and the last step are always there, and a step whose numbers are not finite. A
        held-out loss that fell between two observations comes with the next one.
        """
        if progress["phase"] != "train" or "loss" not in progress:
            return
        step, total, now = progress["done"], progress["total"], self._clock()
        if "held_out_loss" in progress:
            self._held_out = {
                "held_out_loss": progress["held_out_loss"],
                "held_out_loss_at_step": step,
            }
        due = step >= self._next_step and now >= self._next_time
        if not (due or (total and step >= total) or not math.isfinite(progress["loss"])):
            return
        self._next_step = step + max(total / MOST, 1 if total else step / 20)
        self._next_time = now + LEAST_SECONDS
        numbers = {name: progress[name] for name in _NUMBERS if name in progress}
        metadata = {
            "step": step,
            **{name: _shown(v) for name, v in {**numbers, **self._held_out}.items()},
        }
        self._held_out = {}
        self._log_event(
            dg.AssetObservation(self._asset_key, partition=self._partition, metadata=metadata)
        )


def _shown(value: float) -> float | int | str:
    """A number that the UI plots; as a text where it is none, which GraphQL could not send."""
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else str(value)
