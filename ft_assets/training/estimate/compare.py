"""The estimate beside what happened, when a run is over."""

from __future__ import annotations

from ft_assets.training.estimate.estimate import TrainingEstimate
from ft_assets.training.estimate.world import GIB
from ft_assets.training.outcome import TrainOutcome
from resources.record import Record

_MIB_PER_GIB = 1024


class ComparedRow(Record):
    """One figure, estimated and actual; None where one of the two is not known."""

    figure: str
    estimated: float | None
    actual: float | None

    @property
    def ratio(self) -> float | None:
        """Estimated over actual."""
        if self.estimated is None or not self.actual:
            return None
        return self.estimated / self.actual


def estimate_beside_actual(estimate: TrainingEstimate, outcome: TrainOutcome) -> list[ComparedRow]:
    """Rows for a table: memory, speed, time, steps and tokens.

    A resumed run's time is that of its last attempt, so that its hours are left out.
    """
    rows, time = estimate.rows, estimate.duration
    whole = not outcome.resumed_from_step
    return [
        ComparedRow(
            figure="peak memory (GiB)",
            estimated=round(estimate.memory.total / GIB, 2),
            actual=round(outcome.peak_memory_mib / _MIB_PER_GIB, 2),
        ),
        ComparedRow(
            figure="tokens per second",
            estimated=round(time.tokens_per_second, 1) if time else None,
            actual=_rounded(outcome.tokens_per_second, 1),
        ),
        ComparedRow(
            figure="hours",
            estimated=round(time.hours, 4) if time else None,
            actual=round(outcome.train_seconds / 3600, 4) if whole else None,
        ),
        ComparedRow(
            figure="optimizer steps", estimated=rows.steps if rows else None, actual=outcome.steps
        ),
        ComparedRow(
            figure="tokens", estimated=rows.tokens if rows else None, actual=outcome.tokens
        ),
        ComparedRow(
            figure="trained tokens",
            estimated=rows.trained_tokens if rows else None,
            actual=outcome.trained_tokens,
        ),
    ]


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)
