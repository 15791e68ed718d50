"""What the held-out loss shows beside the training loss."""

from __future__ import annotations

from collections.abc import Iterator

from ft_assets.training.health.finding import Finding
from ft_assets.training.health.window import Window
from ft_assets.training.metrics import StepMetrics

_RISE = 1.02
"""The same rows are measured each time, so that a rise by 2 % is no noise of theirs."""
_MEASUREMENTS = 2
_RECENT = 8


class Overfitting:
    """The held-out loss rises while the training loss falls."""

    def __init__(self) -> None:
        self._train = Window(_RECENT)
        self._best: tuple[float, int, float] | None = None
        """Held-out loss, step and training loss of the best measurement."""
        self._above = 0
        self._last: tuple[int, float] = 0, 0.0

    def observe(self, metrics: StepMetrics) -> None:
        """Compare a measurement with the best one before it."""
        self._train.add(metrics.loss)
        loss = metrics.held_out_loss
        if loss is None or not self._train.values:
            return
        self._last = metrics.step, loss
        if self._best is None or loss < self._best[0]:
            self._best = loss, metrics.step, self._train.mean
            self._above = 0
        else:
            self._above = self._above + 1 if loss > _RISE * self._best[0] else 0

    def findings(self, *, ended: bool) -> Iterator[Finding]:  # noqa: ARG002
        """When it has risen for some measurements and the training loss has fallen since."""
        if self._best is None or self._above < _MEASUREMENTS:
            return
        best, at, train_then = self._best
        step, loss = self._last
        if self._train.mean < train_then:
            yield Finding(
                code="overfitting",
                severity="warning",
                step=at,
                seen=(
                    f"the held-out loss rose from {best:.4g} (step {at}) to {loss:.4g} (step "
                    f"{step}) while the training loss fell"
                ),
                remedy=(
                    "set training.checkpoint_choice: best, lower num_epochs or learning_rate, "
                    "raise weight_decay, or bring more rows"
                ),
            )
