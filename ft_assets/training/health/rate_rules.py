"""What the learning rate and the speed show."""

from __future__ import annotations

from collections.abc import Iterator

from ft_assets.training.health.finding import Finding, Planned
from ft_assets.training.health.window import Window
from ft_assets.training.metrics import StepMetrics

_CONSTANT = ("constant", "constant_with_warmup", "reduce_lr_on_plateau")
"""Schedules that may stay level for a whole run."""
_FLAT_STEPS = 10
_LEAST_WARMUP, _MOST_WARMUP = 0.05, 0.10
_LONG_RUN = 100
"""Steps from which on a run without warm-up is worth a word."""
_SPEED_WINDOW = 10
_SPEED_SHARE = 1 / 3
"""Neighbours on a shared machine may take half of it."""


class LearningRate:
    """It never moves, though the schedule is not a constant one; or it is 0."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._rate: float | None = None
        self._level = True
        self._steps = 0
        self._step = 0

    def observe(self, metrics: StepMetrics) -> None:
        """Look whether it moved."""
        if metrics.learning_rate is None:
            return
        self._steps += 1
        self._step = metrics.step
        if self._rate is None:
            self._rate = metrics.learning_rate
        self._level = self._level and metrics.learning_rate == self._rate

    def findings(self, *, ended: bool) -> Iterator[Finding]:
        """A rate of 0 as soon as it lasts longer than a warm-up begins; a level one at the end."""
        if not self._level or self._steps < _FLAT_STEPS:
            return
        if self._rate == 0:
            yield Finding(
                code="learning_rate_zero",
                severity="error",
                step=self._step,
                seen=f"the learning rate is 0 for all {self._steps} steps: nothing is learnt",
                remedy="set training.learning_rate, and look at lr_scheduler_kwargs",
            )
        elif ended and self._planned.lr_scheduler not in _CONSTANT:
            yield Finding(
                code="learning_rate_flat",
                severity="warning",
                step=self._step,
                seen=(
                    f"the learning rate is {self._rate:.3g} for all {self._steps} steps, though "
                    f"the schedule is {self._planned.lr_scheduler}"
                ),
                remedy=(
                    "look at training.lr_scheduler_kwargs and warmup_steps, or set lr_scheduler: "
                    "constant where that is meant"
                ),
            )


class WarmupShare:
    """5 to 10 % of the steps are a good warm-up."""

    def __init__(self, planned: Planned) -> None:
        self._warmup = planned.warmup_steps
        self._total = 0
        self._step = 0

    def observe(self, metrics: StepMetrics) -> None:
        """Keep the number of steps."""
        self._step = metrics.step
        self._total = metrics.total_steps or metrics.step

    def findings(self, *, ended: bool) -> Iterator[Finding]:
        """At the end; of a short run without warm-up, or of none at all, nothing is said."""
        if not ended or not self._total or not (self._warmup or self._total > _LONG_RUN):
            return
        share = self._warmup / self._total
        least, most = round(_LEAST_WARMUP * self._total), round(_MOST_WARMUP * self._total)
        if not least <= self._warmup <= max(most, 1):
            yield Finding(
                code="warmup_share",
                severity="advice",
                step=min(self._warmup, self._step) or 1,
                seen=(
                    f"the learning rate warms up over {self._warmup} of {self._total} steps "
                    f"({share:.0%})"
                ),
                remedy=f"set training.warmup_steps to 5 to 10 % of them: {least} to {max(most, 1)}",
            )


class Throughput:
    """The speed fell to less than a third of what it was."""

    def __init__(self) -> None:
        self._recent = Window(_SPEED_WINDOW)
        self._best = 0.0
        self._found: tuple[int, float, float] | None = None

    def observe(self, metrics: StepMetrics) -> None:
        """Compare the last steps with the fastest stretch before."""
        if metrics.tokens_per_second is None:
            return
        self._recent.add(metrics.tokens_per_second)
        if not self._recent.full:
            return
        speed = self._recent.median
        self._best = max(self._best, speed)
        if self._found is None and speed < _SPEED_SHARE * self._best:
            self._found = metrics.step, self._best, speed

    def findings(self, *, ended: bool) -> Iterator[Finding]:  # noqa: ARG002
        """Where it was first so slow."""
        if self._found is not None:
            step, before, speed = self._found
            yield Finding(
                code="throughput_collapse",
                severity="warning",
                step=step,
                seen=f"the speed fell from {before:.4g} to {speed:.4g} tokens/s by step {step}",
                remedy=(
                    "look at what else runs on the machine (training.threads), at its memory "
                    "(lower max_tokens_per_gpu) and at the disk that checkpoints go to"
                ),
            )
