"""What changed of the scores, and which of the changes mean anything.

Two versions were evaluated at different times, so a difference of their scores says something only
where both were asked the same in the same way. Where one was the other's opponent in a report, both
were asked the same documents there: those scores stand beside. Does not belong here: whether a
difference is proven (``ft_assets.court``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ft_assets.cards.results import CANDIDATE, CHAMPION, HELD_OUT, Result, Value, results
from ft_assets.comparing.alike import why_not_comparable
from ft_assets.comparing.behind import REPORT
from ft_assets.evaluation.comparison import HELD_OUT_SCORES
from ft_assets.evaluation.summary import EvaluationSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ft_assets.comparing.behind import Behind

Scores = dict[tuple[str, str], Value]
"""By task and metric."""


@dataclass(frozen=True)
class SameDocuments:
    """One metric of both versions over the same documents."""

    old: float
    new: float
    low: float | None
    """Lower end of the confidence interval of ``new - old``, where the court looked at it."""
    high: float | None
    p_value: float | None
    documents: int | None
    report_of: str
    """The version whose report compared them."""


@dataclass(frozen=True)
class MetricChange:
    """One metric of two versions, each from its own evaluation."""

    metric: str
    """``TASK/METRIC``."""
    old: float | None
    """None: not measured, or no longer known."""
    old_stderr: float | None
    new: float | None
    new_stderr: float | None
    higher_is_better: bool | None
    comparable: bool
    """Whether both were asked the same in the same way."""
    why_not: str
    """Why the two are not compared; empty where they are."""
    same_documents: SameDocuments | None

    @property
    def difference(self) -> float | None:
        """``new - old``; None where it would say nothing."""
        if not self.comparable or self.old is None or self.new is None:
            return None
        return self.new - self.old


def metric_changes(old: Behind, new: Behind) -> list[MetricChange]:
    """All metrics of either version: held-out rows first, then task by task."""
    summaries = [summary_of(one) for one in (old, new)]
    measured = [
        {} if summary is None else {_place(result): result for result in results(summary)}
        for summary in summaries
    ]
    places = list(dict.fromkeys([*_all_places(), *measured[0], *measured[1]]))
    scores = [
        {place: result.candidate for place, result in found.items()}
        if summary is not None
        else _registered_scores(one, places)
        for one, summary, found in zip((old, new), summaries, measured, strict=True)
    ]
    beside = _same_documents(old, new)
    return [
        _change(
            place,
            (scores[0].get(place), scores[1].get(place)),
            why=why_not_comparable(*place, (old, new), (summaries[0], summaries[1])),
            known=measured[1].get(place) or measured[0].get(place),
            beside=beside.get(place),
        )
        for place in places
        if place in scores[0] or place in scores[1]
    ]


def summary_of(one: Behind) -> EvaluationSummary | None:
    """The results by which a version won; None where they are not kept, or cannot be read."""
    report = one.kept.get(REPORT)
    if report is None:
        return None
    try:
        summary = EvaluationSummary.model_validate(report.metadata.get("summary"))
    except ValidationError:  # another release's: what the registry says counts
        return None
    return summary if CANDIDATE in summary.models else None


def primary_metric(one: Behind) -> str:
    """The metric that decided about a version."""
    making = one.making(REPORT)
    promotion: Any = making.config.get("promotion", {}) if making else {}
    primary: Any = promotion.get("primary")
    return str(primary or f"{HELD_OUT}/loss")


def _change(
    place: tuple[str, str],
    values: tuple[Value | None, Value | None],
    *,
    why: str,
    known: Result | None,
    beside: SameDocuments | None,
) -> MetricChange:
    old, new = values
    if old is None or new is None:
        why = why or f"not measured {'before' if old is None else 'now'}"
    task, metric = place
    return MetricChange(
        metric=f"{task}/{metric}",
        old=old.value if old else None,
        old_stderr=old.stderr if old else None,
        new=new.value if new else None,
        new_stderr=new.stderr if new else None,
        higher_is_better=known.higher_is_better if known else HELD_OUT_SCORES.get(metric),
        comparable=not why,
        why_not=why,
        same_documents=beside,
    )


def _place(result: Result) -> tuple[str, str]:
    return result.task, result.metric


def _all_places() -> Iterable[tuple[str, str]]:
    return ((HELD_OUT, metric) for metric in HELD_OUT_SCORES)


def _registered_scores(one: Behind, places: Iterable[tuple[str, str]]) -> Scores:
    """The scores that the registry keeps, where the report is gone."""
    scores: Scores = {}
    for task, metric in places:
        separator = "_" if task == HELD_OUT else "."
        name, comma, used = metric.partition(",")
        value = _number(one.said(f"{task}{separator}{metric}"))
        if value is not None:
            stderr = _number(one.said(f"{task}{separator}{name}_stderr{comma}{used}"))
            scores[task, metric] = Value(value, stderr)
    return scores


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _same_documents(old: Behind, new: Behind) -> dict[tuple[str, str], SameDocuments]:
    """From the report in which one of the two met the other as the champion."""
    for candidate, opponent in ((new, old), (old, new)):
        summary, report = summary_of(candidate), candidate.kept.get(REPORT)
        if summary is None or report is None or CHAMPION not in summary.models:
            continue
        if summary.model_digests.get(CHAMPION) != opponent.version.artifact.digest:
            continue
        judged = _judged(report.metadata)
        return {
            _place(result): _beside(
                result,
                judged.get(_place(result), {}),
                documents=summary.documents.get(result.task),
                report_of=candidate,
                forward=candidate is new,
            )
            for result in results(summary)
            if result.champion is not None
        }
    return {}


def _judged(metadata: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What the court said of the candidate against the champion, by task and metric."""
    verdict: Any = metadata.get("verdict") or {}
    return {
        (one["task"], one["metric"]): one
        for one in verdict.get("comparisons", [])
        if one.get("against") == CHAMPION
    }


def _beside(
    result: Result,
    judged: Mapping[str, Any],
    *,
    documents: int | None,
    report_of: Behind,
    forward: bool,
) -> SameDocuments:
    """``forward``: the candidate of the report is the new version; else the old one."""
    assert result.champion is not None
    values = (result.champion.value, result.candidate.value)
    low, high = judged.get("low"), judged.get("high")
    if not forward:
        values = (values[1], values[0])
        low, high = (None if end is None else -end for end in (high, low))
    return SameDocuments(
        old=values[0],
        new=values[1],
        low=low,
        high=high,
        p_value=judged.get("p_value"),
        documents=judged.get("samples") or documents,
        report_of=report_of.name,
    )
