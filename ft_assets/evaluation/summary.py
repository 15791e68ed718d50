"""From the scores of all models to the summary that is kept, compared and decided on.

Pure functions: no torch, no lm-eval, no files. A number that is not finite becomes null, because
JSON has no NaN, and is named in ``not_finite``, so that nobody takes it for a missing one.
"""

from __future__ import annotations

import math
import numbers
from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from ft_assets.evaluation.scores import Estimate, RowScore, exponential, ratio, ratio_difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BASE = "base"
"""The name of the model that the others are compared with."""

_NOT_METRICS = ("alias", "name", "sample_count", "sample_len")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeldOutSummary(_Record):
    """One model on the held-out split. Standard errors are null for fewer than two rows."""

    loss: float | None
    """Nats per token of the assistant turns, weighted by token."""
    loss_stderr: float | None
    perplexity: float | None
    """``exp(loss)``, per token."""
    perplexity_stderr: float | None
    token_accuracy: float | None
    """Share of the tokens that the model would have said itself."""
    token_accuracy_stderr: float | None
    rows: int
    """Rows scored."""
    tokens: int
    """Tokens scored."""
    truncated: int
    """Scored rows of which at least one turn was left out, because it did not fit."""
    skipped: int
    """Rows of which no turn could be scored."""
    skip_reasons: dict[str, int] = Field(default_factory=dict)


class LossDifference(_Record):
    """A model's loss minus that of ``base``, on the rows where both scored the same turns."""

    loss: float | None
    """Below 0: the model is better than ``base``."""
    loss_stderr: float | None
    rows: int
    same_tokens: bool
    """Whether both models cut these rows into as many tokens; if not, losses per token differ in
    meaning."""


class ModelSummary(_Record):
    """All results of one model."""

    held_out: HeldOutSummary | None
    tasks: dict[str, dict[str, float | None]]
    """Per lm-eval task or group, each metric and its standard error (``acc``, ``acc_stderr``;
    with lm-eval's filter behind a comma when it is not ``none``)."""


class EvaluationSummary(_Record):
    """What ``results.json`` holds."""

    models: dict[str, ModelSummary]
    differences: dict[str, LossDifference] = Field(default_factory=dict)
    """Per model other than ``base``, its held-out loss minus that of ``base``."""
    higher_is_better: dict[str, dict[str, bool | None]] = Field(default_factory=dict)
    """Per task and metric."""
    partial: bool
    """A limit was set: the results are of a part of the documents."""
    not_finite: list[str] = Field(default_factory=list)
    """Values that were NaN or infinite and are null above, such as ``tuned.held_out.loss``."""
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    """Per model, loading and scoring."""


def summarise(
    rows: Mapping[str, Sequence[RowScore] | None],
    tasks: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    partial: bool,
    higher_is_better: Mapping[str, Mapping[str, bool | None]] | None = None,
    versions: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> EvaluationSummary:
    """Put the results of all models together.

    Args:
        rows: per model, its held-out scores, or None when there was no held-out split.
        tasks: per model and task, the metrics as lm-eval reports them (``acc,none``).
        partial: whether a limit was set.
        higher_is_better: per task and metric.
        versions: per library.
        seconds: per model.
    """
    not_finite: list[str] = []
    models = {
        name: ModelSummary(
            held_out=None if scores is None else _held_out(scores, name, not_finite),
            tasks={
                task: _metrics(metrics, f"{name}.tasks.{task}", not_finite)
                for task, metrics in tasks.get(name, {}).items()
            },
        )
        for name, scores in rows.items()
    }
    base = rows.get(BASE)
    differences = {
        name: _difference(scores, base, name, not_finite)
        for name, scores in rows.items()
        if name != BASE and scores is not None and base is not None
    }
    return EvaluationSummary(
        models=models,
        differences=differences,
        higher_is_better={
            task: {metric_name(key): value for key, value in metrics.items()}
            for task, metrics in (higher_is_better or {}).items()
        },
        partial=partial,
        not_finite=not_finite,
        versions=dict(versions or {}),
        seconds=dict(seconds or {}),
    )


def metric_name(key: str) -> str:
    """lm-eval's key without its filter when that is ``none``: ``acc,none`` is ``acc``."""
    return key.removesuffix(",none")


def _held_out(scores: Sequence[RowScore], model: str, not_finite: list[str]) -> HeldOutSummary:
    scored = [score for score in scores if score.skipped is None]
    loss = ratio([(s.nll, s.tokens) for s in scored])
    accuracy = ratio([(s.correct, s.tokens) for s in scored])
    values = _finite(
        {
            **_pair("loss", loss),
            **_pair("perplexity", exponential(loss)),
            **_pair("token_accuracy", accuracy),
        },
        f"{model}.held_out",
        not_finite,
    )
    return HeldOutSummary(
        **values,
        rows=len(scored),
        tokens=sum(score.tokens for score in scored),
        truncated=sum(score.left_out > 0 for score in scored),
        skipped=len(scores) - len(scored),
        skip_reasons=dict(Counter(s.skipped for s in scores if s.skipped is not None)),
    )


def _difference(
    scores: Sequence[RowScore], base: Sequence[RowScore], model: str, not_finite: list[str]
) -> LossDifference:
    both = list(_scored_by_both(scores, base))
    loss = ratio_difference(
        [(mine.nll, mine.tokens) for mine, _ in both],
        [(theirs.nll, theirs.tokens) for _, theirs in both],
    )
    values = _finite(_pair("loss", loss), f"{model}.difference", not_finite)
    same = all(mine.tokens == theirs.tokens for mine, theirs in both)
    return LossDifference(**values, rows=len(both), same_tokens=same)


def _scored_by_both(
    scores: Sequence[RowScore], base: Sequence[RowScore]
) -> Iterable[tuple[RowScore, RowScore]]:
    theirs = {score.row: score for score in base if score.skipped is None}
    for score in scores:
        other = theirs.get(score.row)
        if score.skipped is None and other is not None and len(other.turns) == len(score.turns):
            yield score, other


def _metrics(
    metrics: Mapping[str, Any], where: str, not_finite: list[str]
) -> dict[str, float | None]:
    plain = {
        metric_name(key): float(value) if isinstance(value, numbers.Real) else None
        for key, value in metrics.items()
        if key not in _NOT_METRICS
    }
    return _finite(plain, where, not_finite)


def _pair(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {name: estimate.value, f"{name}_stderr": estimate.stderr}


def _finite(
    values: Mapping[str, float | None], where: str, not_finite: list[str]
) -> dict[str, float | None]:
    checked: dict[str, float | None] = {}
    for name, value in values.items():
        checked[name] = value if value is None or math.isfinite(value) else None
        if checked[name] is not value:
            not_finite.append(f"{where}.{name}")
    return checked
