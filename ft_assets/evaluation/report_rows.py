"""The rows of the results table: every score of every model, and what the court says of it.

The asset's page and the HTML report show the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ft_assets.evaluation.comparison import HELD_OUT_SCORES, better_when_higher
from ft_assets.evaluation.plan import HELD_OUT
from ft_assets.forest import Difference, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ft_assets.evaluation.summary import EvaluationSummary, ModelSummary

BASE, CHAMPION, CANDIDATE = "base", "champion", "tuned"
NAMES = {BASE: "base", CHAMPION: "champion", CANDIDATE: "candidate"}
"""What the models of an evaluation are called in front of people."""
COMPARED = (CHAMPION, BASE)
"""Whom the candidate is compared with where the court does not say: the first that there is."""

Cell = str | float | None
Row = dict[str, Cell]

_DIGITS = 5


class ComparisonLike(Protocol):
    """What is shown of a comparison: ``ft_assets.court.Comparison``."""

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    @property
    def metric(self) -> str:
        """Name of the score."""
        ...

    @property
    def against(self) -> str:
        """``base`` or ``champion``."""
        ...

    @property
    def difference(self) -> float | None:
        """The candidate's score minus the other's."""
        ...

    @property
    def low(self) -> float | None:
        """Lower end of the interval of the difference."""
        ...

    @property
    def high(self) -> float | None:
        """Upper end."""
        ...

    @property
    def passed(self) -> bool:
        """Whether it speaks for the candidate."""
        ...

    @property
    def rule(self) -> str:
        """What was asked of it."""
        ...


def result_rows(
    summary: EvaluationSummary, comparisons: Sequence[ComparisonLike] = ()
) -> list[Row]:
    """One row per task, score and comparison.

    What the court compared stands first, in its order; then come the scores that it did not look
    at, with the plain difference to the champion, or to the base model where there is none.
    """
    scores = {name: _scores(model) for name, model in summary.models.items()}
    rows: list[Row] = []
    judged: set[tuple[str, str]] = set()
    for comparison in comparisons:
        place = comparison.task, comparison.metric
        judged.add(place)
        rows.append(
            {
                **_values(place, scores),
                "against": comparison.against,
                "difference": _rounded(comparison.difference),
                "interval": interval(comparison.low, comparison.high),
                "verdict": f"{'passed' if comparison.passed else 'failed'}: {comparison.rule}",
            }
        )
    if CANDIDATE not in scores:
        return [_values(place, scores) for place in scores.get(BASE, {})]
    rows += [_not_judged(place, scores) for place in scores[CANDIDATE] if place not in judged]
    return rows


def differences(
    summary: EvaluationSummary,
    rows: Sequence[Row],
    comparisons: Sequence[ComparisonLike] = (),
) -> list[Difference]:
    """The lines of the forest plot: what the court compared, or else every row."""
    if comparisons:
        return [
            Difference(
                label=f"{item.task}/{item.metric} against {item.against}",
                value=item.difference,
                low=item.low,
                high=item.high,
                higher_is_better=better_when_higher(
                    item.metric, higher_is_better(summary, item.task)
                ),
                passed=item.passed,
            )
            for item in comparisons
        ]
    return [
        Difference(
            label=f"{row['task']}/{row['metric']} against {row['against']}",
            value=value,
            low=None,
            high=None,
            higher_is_better=better_when_higher(
                str(row["metric"]), higher_is_better(summary, str(row["task"]))
            ),
            passed=None,
        )
        for row in rows
        if isinstance(value := row.get("difference"), float | int)
    ]


def sampled_tasks(summary: EvaluationSummary) -> list[str]:
    """The tasks that left samples, the held-out one first."""
    known = list(summary.documents) or _tasks(summary)
    return sorted(known, key=lambda task: task != HELD_OUT)


def higher_is_better(summary: EvaluationSummary, task: str) -> Mapping[str, bool | None]:
    """Per score of a task, whether more of it is better."""
    return HELD_OUT_SCORES if task == HELD_OUT else summary.higher_is_better.get(task, {})


def _tasks(summary: EvaluationSummary) -> list[str]:
    tasks: dict[str, None] = {}
    for model in summary.models.values():
        if model.held_out is not None:
            tasks[HELD_OUT] = None
        tasks |= dict.fromkeys(model.tasks)
    return list(tasks)


def _scores(model: ModelSummary) -> dict[tuple[str, str], float | None]:
    """All scores of a model by task and name, without standard errors."""
    scores: dict[tuple[str, str], float | None] = {}
    if model.held_out is not None:
        for name in HELD_OUT_SCORES:
            value: float | None = getattr(model.held_out, name)
            if value is not None or name in ("loss", "perplexity", "token_accuracy"):
                scores[HELD_OUT, name] = value
    for task, metrics in model.tasks.items():
        for name, value in metrics.items():
            if not name.partition(",")[0].endswith("_stderr"):
                scores[task, name] = value
    return scores


def _values(
    place: tuple[str, str], scores: Mapping[str, Mapping[tuple[str, str], float | None]]
) -> Row:
    models = [model for model in NAMES if model in scores]
    return {
        "task": place[0],
        "metric": place[1],
        **{NAMES[model]: _rounded(scores[model].get(place)) for model in models},
    }


def _not_judged(
    place: tuple[str, str], scores: Mapping[str, Mapping[tuple[str, str], float | None]]
) -> Row:
    against = next((model for model in COMPARED if model in scores), None)
    mine = scores[CANDIDATE].get(place)
    theirs = scores[against].get(place) if against is not None else None
    difference = mine - theirs if mine is not None and theirs is not None else None
    return {
        **_values(place, scores),
        "against": against or "",
        "difference": _rounded(difference),
        "interval": "",
        "verdict": "",
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
