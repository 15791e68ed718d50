"""The results of an evaluation, one by one, as both the header and the tables of a card say them.

Belongs here: reading an evaluation's summary. Does not belong here: how results are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ft_assets.evaluation.summary import BASE, EvaluationSummary, ModelSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CANDIDATE = "tuned"
CHAMPION = "champion"
HELD_OUT = "held_out"
_LOWER_IS_BETTER = frozenset({"loss", "perplexity"})


@dataclass(frozen=True)
class Value:
    """A number of one model; ``stderr`` where it is known."""

    value: float
    stderr: float | None


@dataclass(frozen=True)
class Result:
    """One task and metric, of the candidate and of what it is compared with."""

    task: str
    metric: str
    higher_is_better: bool | None
    candidate: Value
    base: Value | None
    champion: Value | None

    @property
    def difference(self) -> float | None:
        """Candidate minus base."""
        return None if self.base is None else self.candidate.value - self.base.value


def results(summary: EvaluationSummary) -> list[Result]:
    """All results of the candidate that are numbers: held-out rows first, then task by task."""
    candidate = _values(summary.models[CANDIDATE])
    others = {
        name: _values(summary.models[name]) for name in (BASE, CHAMPION) if name in summary.models
    }
    return [
        Result(
            task=task,
            metric=metric,
            higher_is_better=_higher_is_better(summary, task, metric),
            candidate=value,
            base=others.get(BASE, {}).get((task, metric)),
            champion=others.get(CHAMPION, {}).get((task, metric)),
        )
        for (task, metric), value in candidate.items()
    ]


def _higher_is_better(summary: EvaluationSummary, task: str, metric: str) -> bool | None:
    of_task = summary.higher_is_better.get(task, {})
    said = of_task.get(metric, of_task.get(metric.partition(",")[0]))  # without lm-eval's filter
    if said is None and task == HELD_OUT:
        return metric not in _LOWER_IS_BETTER
    return said


def _values(model: ModelSummary) -> dict[tuple[str, str], Value]:
    found: dict[tuple[str, str], Value] = {}
    if model.held_out is not None:
        held_out = model.held_out.model_dump()
        # A field with a standard error is a result; the others are counts.
        measured = {name: held_out[name] for name in held_out if f"{name}_stderr" in held_out}
        errors = {f"{name}_stderr": held_out[f"{name}_stderr"] for name in measured}
        found |= {(HELD_OUT, name): value for name, value in _pairs({**measured, **errors})}
    for task, metrics in model.tasks.items():
        found |= {(task, name): value for name, value in _pairs(metrics)}
    return found


def _pairs(metrics: Mapping[str, float | None]) -> Iterator[tuple[str, Value]]:
    for name, value in metrics.items():
        metric, comma, used = name.partition(",")  # lm-eval's filter
        if value is not None and not metric.endswith("_stderr"):
            yield name, Value(value, metrics.get(f"{metric}_stderr{comma}{used}"))
