"""From the scores of all models to the summary that is kept, compared and decided on.

Pure functions: no torch, no lm-eval, no files. A number that is not finite becomes null, because
JSON has no NaN, and is named in ``not_finite``, so that nobody takes it for a missing one.
"""

from __future__ import annotations

import math
import numbers
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field, model_validator

from ft_assets.evaluation.answer_scores import METRICS as ANSWER_METRICS
from ft_assets.evaluation.scores import (
    AnswerScore,
    Estimate,
    RowScore,
    exponential,
    mean,
    ratio,
)
from resources.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BASE = "base"
"""The name of the model that the others are compared with."""

_GONE = ("differences",)
"""Fields that older evaluations wrote."""

_NOT_METRICS = ("alias", "name", "sample_count", "sample_len")


class HeldOutSummary(Record):
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
    left_out_rows: int = 0
    """Rows that were not asked, because a model of this comparison was trained on them."""
    exact_match: float | None = None
    """Share of the generated answers that equal the reference, white space aside."""
    exact_match_stderr: float | None = None
    rouge_l: float | None = None
    """ROUGE-L (F-measure) of the generated answers, 0 to 1."""
    rouge_l_stderr: float | None = None
    chrf: float | None = None
    """chrF of the generated answers, 0 to 1."""
    chrf_stderr: float | None = None
    generated: int = 0
    """Rows for which an answer was generated and scored."""
    generation_skipped: dict[str, int] = Field(default_factory=dict)
    """Per reason, the rows that were chosen for generation and got no answer."""


class ModelSummary(Record):
    """All results of one model."""

    held_out: HeldOutSummary | None
    tasks: dict[str, dict[str, float | None]]
    """Per lm-eval task or group, each metric and its standard error (``acc``, ``acc_stderr``;
    with lm-eval's filter behind a comma when it is not ``none``)."""


class EvaluationSummary(Record):
    """What ``results.json`` holds."""

    models: dict[str, ModelSummary]
    higher_is_better: dict[str, dict[str, bool | None]] = Field(default_factory=dict)
    """Per task and metric."""
    partial: bool
    """A limit was set: the results are of a part of the documents."""
    not_finite: list[str] = Field(default_factory=list)
    """Values that were NaN or infinite and are null above, such as ``tuned.held_out.loss``."""
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    """Per model, loading and scoring."""
    task_versions: dict[str, str] = Field(default_factory=dict)
    """Per task with samples, a text that changes with its definition, few-shot number, seeds,
    documents or our scoring: results of different versions are not compared."""
    model_digests: dict[str, str] = Field(default_factory=dict)
    """Per model, the digest of what was evaluated."""
    backends: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Per model and task, what ran it: ``hf`` or ``vllm``."""
    documents: dict[str, int] = Field(default_factory=dict)
    """Per task with samples, the documents that each model was asked."""
    seeds: dict[str, int] = Field(default_factory=dict)
    """Per task with samples, over how many seeds its metrics are means."""
    leaves: dict[str, list[str]] = Field(default_factory=dict)
    """Per entry of ``evaluation.tasks``, the tasks with samples that it stands for: itself, or all
    those of a group or tag. Older evaluations do not say."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_ones(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, Any]", data)
        return {name: value for name, value in fields.items() if name not in _GONE}


def summarise(
    rows: Mapping[str, Sequence[RowScore] | None],
    tasks: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    partial: bool,
    answers: Mapping[str, Sequence[AnswerScore]] | None = None,
    left_out_rows: int = 0,
    higher_is_better: Mapping[str, Mapping[str, bool | None]] | None = None,
    versions: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> EvaluationSummary:
    """Put the results of all models together.

    Args:
        rows: per model, its held-out scores, or None when there was no held-out split.
        tasks: per model and task, the metrics as lm-eval reports them (``acc,none``).
        partial: whether a limit was set.
        answers: per model, the scores of its generated answers.
        left_out_rows: held-out rows that were not asked.
        higher_is_better: per task and metric.
        versions: per library.
        seconds: per model.
    """
    not_finite: list[str] = []
    models = {
        name: ModelSummary(
            held_out=None
            if scores is None
            else _held_out(scores, (answers or {}).get(name, ()), left_out_rows, name, not_finite),
            tasks={
                task: _metrics(metrics, f"{name}.tasks.{task}", not_finite)
                for task, metrics in tasks.get(name, {}).items()
            },
        )
        for name, scores in rows.items()
    }
    return EvaluationSummary(
        models=models,
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


def _held_out(
    scores: Sequence[RowScore],
    answers: Sequence[AnswerScore],
    left_out_rows: int,
    model: str,
    not_finite: list[str],
) -> HeldOutSummary:
    scored = [score for score in scores if score.skipped is None]
    given = [answer for answer in answers if answer.skipped is None]
    loss = ratio([(s.nll, s.tokens) for s in scored])
    estimates = {
        "loss": loss,
        "perplexity": exponential(loss),
        "token_accuracy": ratio([(s.correct, s.tokens) for s in scored]),
        **{name: mean([answer.metrics[name] for answer in given]) for name in ANSWER_METRICS},
    }
    pairs = {key: v for name, e in estimates.items() for key, v in _pair(name, e).items()}
    values: dict[str, Any] = _finite(pairs, f"{model}.held_out", not_finite)
    return HeldOutSummary(
        **values,
        rows=len(scored),
        tokens=sum(score.tokens for score in scored),
        truncated=sum(score.left_out > 0 for score in scored),
        skipped=len(scores) - len(scored),
        skip_reasons=_counted(score.skipped for score in scores),
        left_out_rows=left_out_rows,
        generated=len(given),
        generation_skipped=_counted(answer.skipped for answer in answers),
    )


def _counted(reasons: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(reason for reason in reasons if reason is not None))


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
