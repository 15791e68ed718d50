"""What the norm of the gradients shows: 0.1 to 10 is healthy."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ft_assets.training.health.finding import Finding
from ft_assets.training.metrics import StepMetrics

_HIGH = 100.0
_EXPLODING_STEPS = 10
_RISEN = 1.2
"""The loss has risen when it is this many times what it was before."""
_ZERO_STEPS = 5


class GradientNorm:
    """Above 100 it is unstable; constantly 0 means that nothing is trained."""

    def __init__(self) -> None:
        self._zeros = 0
        self._zero_from: int | None = None
        self._all_zero = True
        self._steps = 0
        self._high = 0
        self._high_in_a_row = 0
        self._exploding_from: int | None = None
        self._worst = 0.0, 0
        self._last_step = 0
        self._loss_before = math.nan
        """Of the last step with a norm up to 100, or of the first."""

    def observe(self, metrics: StepMetrics) -> None:
        """Count the steps in a row; a backend that says no norm is not judged."""
        norm = metrics.grad_norm
        if norm is None:
            return
        self._steps += 1
        self._last_step = metrics.step
        self._observe_zero(norm, metrics.step)
        if not norm > _HIGH or math.isnan(self._loss_before):
            self._loss_before = metrics.loss
        if not norm > _HIGH:
            self._high_in_a_row = 0
            return
        self._high += 1
        self._high_in_a_row += 1
        self._worst = max(self._worst, (norm, metrics.step))
        # The norm is that before gradients are cut: where the loss falls, cutting is enough.
        lasts = self._high_in_a_row >= _EXPLODING_STEPS
        if lasts and self._exploding_from is None and metrics.loss > _RISEN * self._loss_before:
            self._exploding_from = metrics.step - self._high_in_a_row + 1

    def _observe_zero(self, norm: float, step: int) -> None:
        self._zeros = self._zeros + 1 if norm == 0 else 0
        self._all_zero = self._all_zero and norm == 0
        if self._zeros == _ZERO_STEPS and self._zero_from is None:
            self._zero_from = step - _ZERO_STEPS + 1

    def findings(self, *, ended: bool) -> Iterator[Finding]:
        """Zero and explosion as soon as they last; single high ones as a warning."""
        zero_from = self._zero_from
        if zero_from is None and ended and self._steps > 1 and self._all_zero:
            zero_from = self._last_step - self._steps + 1
        if zero_from is not None:
            yield Finding(
                code="gradients_zero",
                severity="error",
                step=zero_from,
                seen=f"the gradient norm is 0.0 from step {zero_from} on: no weight is trained",
                remedy=(
                    "look at what is trainable: training.target_patterns and unfreeze_rank_ratio "
                    "(osft), lora_target_modules (lora_sft), or the base model"
                ),
            )
        norm, step = self._worst
        if self._exploding_from is not None:
            yield Finding(
                code="gradients_exploding",
                severity="error",
                step=self._exploding_from,
                seen=(
                    f"the gradient norm is above {_HIGH:.0f} from step {self._exploding_from} on "
                    f"(at most {norm:.4g}), and the loss has risen"
                ),
                remedy=_REMEDY,
            )
        elif self._high:
            yield Finding(
                code="gradients_high",
                severity="warning",
                step=step,
                seen=(
                    f"the gradient norm was above {_HIGH:.0f} at {self._high} of {self._steps} "
                    f"steps, most at step {step}: {norm:.4g}"
                ),
                remedy=_REMEDY,
            )


_REMEDY = "lower training.learning_rate, or add warmup_steps"
