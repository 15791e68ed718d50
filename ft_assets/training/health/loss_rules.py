"""What the training loss alone shows.

The loss of a small batch is noisy: a rule speaks when what it sees is beyond that noise, so that
it is silent rather than wrong on a run of a few dozen steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ft_assets.training.health.finding import Finding
from ft_assets.training.health.window import Window
from ft_assets.training.metrics import StepMetrics

_ZERO = 1e-6
"""Nats per token; a model that is right about everything has more than that in fp32."""
_ZERO_STEPS = 3
_MEMORISED = 0.01
_JUMP = 2.0
"""A jump of a loss by this factor is a spike, a lasting one is divergence."""
_BEGINNING = 2
"""Steps whose loss is the base model's: before a learning rate that is too high shows."""
_DIVERGED_WINDOW = 8
_DIVERGED_LEAST = 4.0
"""Nats per token that a run that has diverged is above: the loss of no language model on its
subject, and above the noise of batches of one row."""
_GUESSING = 13.0
"""Nats per token: worse than guessing among 440,000 tokens, more than any vocabulary has."""
_SPIKE_WINDOW, _SPIKE_NEEDS = 16, 5
_SPIKE_NOISE = 5.0
"""Standard deviations of the steps before that a spike must stand out by."""
_LEAST_DEVIATION = 0.1
"""Share of the median that counts as noise in any case."""
_SPIKE_LEAST = 0.25
"""Nats per token by which a spike must rise: 0.02 to 0.05 is no instability."""
_TREND_NEEDS = 20
_TREND_WINDOW = 256
_TREND_LEAST = 0.02
"""Share by which the loss must fall over a run."""


class ZeroLoss:
    """A loss of 0.0 (nothing was computed), or so near to it that the rows are known by heart."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._found: tuple[int, float] | None = None
        self._last = Window(_ZERO_STEPS)
        self._step = 0
        self._before = math.inf
        """The lowest loss that was not zero."""

    def observe(self, metrics: StepMetrics) -> None:
        """Count the steps in a row."""
        self._step = metrics.step
        self._last.add(metrics.loss)
        zero = abs(metrics.loss) < _ZERO
        self._in_a_row = self._in_a_row + 1 if zero else 0
        if not zero:
            self._before = min(self._before, metrics.loss)
        # A loss that fell as low as this by and by is that of rows that are known by heart.
        fell = self._before < _MEMORISED
        if self._in_a_row == _ZERO_STEPS and self._found is None and not fell:
            self._found = metrics.step - _ZERO_STEPS + 1, metrics.loss

    def findings(self, *, ended: bool) -> Iterator[Finding]:
        """Zero as soon as it lasts; nearly zero at the end."""
        if self._found is not None:
            step, loss = self._found
            yield Finding(
                code="zero_loss",
                severity="error",
                step=step,
                seen=f"the training loss is {loss:.2g} from step {step} on: nothing is learnt",
                remedy=(
                    "set training.sample_packing: false or another training.attention (packing "
                    "with an attention that cannot do it gives 0.0), and look at roles_to_train"
                ),
            )
        elif ended and self._last.full and self._last.mean < _MEMORISED:
            yield Finding(
                code="memorised",
                severity="warning",
                step=self._step,
                seen=f"the training loss ended at {self._last.mean:.2g}: rows are known by heart",
                remedy="lower training.num_epochs or learning_rate, or bring more rows",
            )


class Diverged:
    """The loss rose to twice what it began with, and stays there."""

    def __init__(self) -> None:
        self._first = Window(_BEGINNING)
        self._recent = Window(_DIVERGED_WINDOW)
        self._found: tuple[int, float] | None = None

    def observe(self, metrics: StepMetrics) -> None:
        """Compare every one of the last steps with every one of the first, and their means."""
        if not self._first.full:
            self._first.add(metrics.loss)
            return
        self._recent.add(metrics.loss)
        if self._found is not None or not self._recent.full:
            return
        lowest, mean = min(self._recent.values), self._recent.mean
        lasting = lowest > max(self._first.values) and mean >= _JUMP * self._first.mean
        if (lasting and mean > _DIVERGED_LEAST) or lowest > max(_GUESSING, self._first.values[0]):
            self._found = metrics.step, mean

    def findings(self, *, ended: bool) -> Iterator[Finding]:  # noqa: ARG002
        """As soon as it is clear."""
        if self._found is not None:
            step, loss = self._found
            yield Finding(
                code="diverged",
                severity="error",
                step=step,
                seen=(
                    f"the training loss rose from {self._first.values[0]:.3g} (first step) to "
                    f"{loss:.3g} (up to step {step})"
                ),
                remedy="lower training.learning_rate, or add warmup_steps",
            )


class NotDecreasing:
    """The loss at the end is what it was at the beginning."""

    def __init__(self) -> None:
        self._first: Window | None = None
        self._recent = Window(_TREND_WINDOW)
        self._steps = 0
        self._step = 0

    def observe(self, metrics: StepMetrics) -> None:
        """Fill the first third of the run, then the last one."""
        if self._first is None:
            size = min(max((metrics.total_steps or 0) // 3, 5), _TREND_WINDOW)
            self._first, self._recent = Window(size), Window(size)
        self._steps += 1
        self._step = metrics.step
        (self._recent if self._first.full else self._first).add(metrics.loss)

    def findings(self, *, ended: bool) -> Iterator[Finding]:
        """At the end, and only where noise cannot hide a fall."""
        first, last = self._first, self._recent
        if not ended or first is None or self._steps < _TREND_NEEDS or not last.full:
            return
        noise = (first.error_of_mean**2 + last.error_of_mean**2) ** 0.5
        fall = first.mean - last.mean
        if fall + 2 * noise < _TREND_LEAST * first.mean:
            yield Finding(
                code="not_decreasing",
                severity="warning",
                step=self._step,
                seen=(
                    f"the training loss did not fall: {first.mean:.4g} over the first {len(first)} "
                    f"steps, {last.mean:.4g} over the last"
                ),
                remedy=(
                    "look at what is trained (training.train_on_inputs, roles_to_train, the rows) "
                    "and at training.learning_rate: full fine-tuning 1e-5 to 5e-5, LoRA 1e-4 to "
                    "3e-4"
                ),
            )


class Spikes:
    """Single steps whose loss is twice that of the steps before."""

    def __init__(self) -> None:
        self._before = Window(_SPIKE_WINDOW)
        self._count = 0
        self._worst: tuple[float, int, float, float] | None = None

    def observe(self, metrics: StepMetrics) -> None:
        """Compare with the steps before it."""
        if len(self._before) >= _SPIKE_NEEDS:
            median = self._before.median
            noise = max(self._before.deviation, _LEAST_DEVIATION * median)
            limit = max(_JUMP * median, median + _SPIKE_NOISE * noise, median + _SPIKE_LEAST)
            if metrics.loss >= limit:
                self._count += 1
                spike = metrics.loss / median, metrics.step, median, metrics.loss
                self._worst = max(self._worst or spike, spike)
        self._before.add(metrics.loss)

    def findings(self, *, ended: bool) -> Iterator[Finding]:  # noqa: ARG002
        """The worst one, and how many there were."""
        if self._worst is not None:
            _, step, before, loss = self._worst
            yield Finding(
                code="spikes",
                severity="warning",
                step=step,
                seen=(
                    f"the training loss jumped {_times(self._count)}, most at step {step}: from "
                    f"{before:.3g} to {loss:.3g}"
                ),
                remedy=(
                    "lower training.learning_rate or max_grad_norm, raise effective_batch_size, or "
                    "look at the rows of that step"
                ),
            )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
