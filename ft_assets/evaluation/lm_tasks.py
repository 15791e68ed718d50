"""One model on lm-eval's tasks: over the seeds, to metrics and samples.

Belongs here: running a task and putting its seeds together. Does not belong here: finding tasks
(:mod:`~ft_assets.evaluation.tasks`) and the held-out rows. Only the worker imports this at work.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ft_assets.evaluation.draws import depends_on_seed, set_seed
from ft_assets.evaluation.models import backend_of
from ft_assets.evaluation.scores import mean
from ft_assets.evaluation.summary import metric_name
from ft_assets.evaluation.task_samples import DocumentScores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lm_eval.api.model import LM
    from lm_eval.api.task import Task

    from ft_assets.evaluation.output import OutputFolder
    from ft_assets.evaluation.plan import EvaluationPlan
    from ft_assets.evaluation.samples import Sample
    from ft_assets.evaluation.scoring import ChatModel
    from ft_assets.evaluation.tasks import BuiltTask

_BOOTSTRAP = 1000  # draws, for the few metrics whose standard error has no formula

Metrics = dict[str, dict[str, Any]]
"""Per task or group, each metric as lm-eval names it (``acc,none``, ``acc_stderr,none``)."""


@dataclass(frozen=True)
class TaskResults:
    """What one model scored on one entry of the plan's tasks."""

    metrics: Metrics
    higher_is_better: dict[str, Any]
    documents: dict[str, int]
    """Per leaf, the documents asked."""
    backends: dict[str, str]
    """Per leaf, what ran it."""


def seeds_of(task: Task, plan: EvaluationPlan) -> list[int]:
    """The seeds that a task runs with: one, where another could change nothing."""
    return plan.all_seeds if depends_on_seed(task) else [plan.seed]


def run_task(
    lm: ChatModel, model: str, entry: BuiltTask, plan: EvaluationPlan, output: OutputFolder
) -> TaskResults:
    """Run one task, group or tag once per seed, and write the samples of its leaves.

    Not lm-eval's ``simple_evaluate``, which starts programs to describe the machine.
    """
    from lm_eval.evaluator import evaluate

    leaves = entry.leaves
    collected = {
        name: DocumentScores(task, texts=plan.log_samples) for name, task in leaves.items()
    }
    raw: dict[str, list[Any]] = {name: [] for name in leaves}
    reports: list[Any] = []
    for seed in max((seeds_of(task, plan) for task in leaves.values()), key=len):
        set_seed(leaves.values(), seed)
        lm.seed = seed
        report: Any = evaluate(
            cast("LM", lm),
            entry.loaded,
            limit=plan.documents,
            log_samples=True,
            bootstrap_iters=_BOOTSTRAP,
        )
        for name, samples in report.pop("samples").items():
            if seed not in seeds_of(leaves[name], plan):
                continue  # a leaf that does not depend on the seed, beside others that do
            collected[name].add(samples)
            if plan.log_samples:
                raw[name] += [{"seed": seed, **sample} for sample in samples]
        reports.append(report)
    samples = {name: scores.samples() for name, scores in collected.items()}
    for name in leaves:
        output.samples(model, name, samples[name])
        if plan.log_samples:
            output.lm_eval_samples(model, name, raw[name])
    return TaskResults(
        metrics=_over_seeds([report["results"] for report in reports], samples),
        higher_is_better=reports[0]["higher_is_better"],
        documents={name: len(samples[name]) for name in leaves},
        backends={name: backend_of(lm, _request_type(task), name) for name, task in leaves.items()},
    )


def _request_type(task: Task) -> str:
    """Multiple choice asks for likelihoods."""
    kind = str(task.OUTPUT_TYPE)
    return "loglikelihood" if kind == "multiple_choice" else kind


def _over_seeds(
    reports: Sequence[Mapping[str, Mapping[str, Any]]],
    samples: Mapping[str, Sequence[Sample]],
) -> Metrics:
    """The mean of each metric. Its standard error is that of the documents' means.

    Where a metric has no value per document, such as a group's, the mean of the standard errors
    stands instead: it is never below the standard error of the mean.
    """
    if len(reports) == 1:
        return {task: dict(metrics) for task, metrics in reports[0].items()}
    merged: Metrics = {}
    for task, first in reports[0].items():
        merged[task] = {key: _mean_of([r[task].get(key) for r in reports]) for key in first}
        merged[task] |= dict(_document_errors(first, samples.get(task, ())))
    return merged


def _mean_of(values: list[Any]) -> Any:
    if all(isinstance(value, numbers.Real) for value in values):
        return sum(map(float, values)) / len(values)
    return values[0]


def _document_errors(
    metrics: Mapping[str, Any], samples: Sequence[Sample]
) -> Iterator[tuple[str, float]]:
    """lm-eval's key of a standard error, and the value from the documents' means over seeds."""
    for key in metrics:
        name, _, chosen = key.partition(",")
        values = [s.metrics.get(metric_name(key)) for s in samples]
        finite = [value for value in values if value is not None]
        error = mean(finite).stderr if finite else None
        if f"{name}_stderr,{chosen}" in metrics and error is not None:
            yield f"{name}_stderr,{chosen}", error
