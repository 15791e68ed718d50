"""Numbers that are none: after one of them the weights are lost."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ft_assets.training.health.finding import Finding
from ft_assets.training.metrics import StepMetrics

_NAMES = {
    "loss": "the training loss became",
    "grad_norm": "the gradient norm became",
    "held_out_loss": "the held-out loss became",
    "learning_rate": "the learning rate became",
}


class NotFinite:
    """A loss, gradient norm or learning rate that is NaN or infinite."""

    code = "not_finite"

    def __init__(self) -> None:
        self._first: Finding | None = None

    def observe(self, metrics: StepMetrics) -> None:
        """Keep the first one."""
        if self._first is not None:
            return
        for name, words in _NAMES.items():
            value: float | None = getattr(metrics, name)
            if value is not None and not math.isfinite(value):
                self._first = Finding(
                    code=self.code,
                    severity="error",
                    step=metrics.step,
                    seen=f"{words} {value} at step {metrics.step}",
                    remedy=(
                        "lower training.learning_rate or add warmup_steps; if it is so from the "
                        "first step on, look at the base model's weights or set precision: fp32"
                    ),
                )
                return

    def findings(self, *, ended: bool) -> Iterator[Finding]:  # noqa: ARG002
        """The first one, at once."""
        if self._first is not None:
            yield self._first
