"""The evaluation process: ``python -m ft_assets.evaluation.worker PLAN.json``.

Exit status 0: ``results.json`` is in the plan's output folder. 2: bad input; its message is on
stderr and in ``error.json``. Anything else is a fault of the program, with a traceback.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import random
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ft_assets.evaluation.held_out import HeldOutRows, held_out_task, row_scores
from ft_assets.evaluation.models import CheckedModel, check_model, load, release
from ft_assets.evaluation.noise import (
    keep_local,
    logging_to,
    silence_before_import,
    silence_libraries,
)
from ft_assets.evaluation.output import OutputFolder, Progress
from ft_assets.evaluation.plan import HELD_OUT, EvaluationPlan
from ft_assets.evaluation.summary import summarise
from ft_assets.evaluation.tasks import BuiltTask, build_tasks
from resources.errors import UserError
from resources.launcher.child import die_with_parent, open_reporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval.tasks.manager import TaskDict

    from ft_assets.evaluation.scores import RowScore
    from ft_assets.evaluation.scoring import ChatModel

_BOOTSTRAP = 1000  # draws, for the few metrics whose standard error has no formula


@dataclass(frozen=True)
class _Job:
    """What every model goes through."""

    plan: EvaluationPlan
    output: OutputFolder
    rows: HeldOutRows | None
    tasks: list[BuiltTask]

    @property
    def documents(self) -> int:
        """Documents that each model is asked."""
        held_out = 0 if self.rows is None else len(self.rows)
        return min(held_out, self.plan.documents or held_out) + sum(
            task.documents for task in self.tasks
        )


@dataclass
class _ModelResults:
    """What one model scored."""

    rows: list[RowScore] | None = None
    tasks: dict[str, Any] = field(default_factory=dict[str, Any])
    higher_is_better: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation that a plan describes; the return value is the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        return _refused("usage: python -m ft_assets.evaluation.worker PLAN.json")
    with open_reporter() as report:
        try:
            plan = EvaluationPlan.read(Path(arguments[0]))
            output = OutputFolder(Path(plan.output_dir), report)
        except UserError as error:
            return _refused(str(error))
        try:
            with logging_to(output.log, plan.verbosity):
                run(plan, output)
        except UserError as error:
            output.error(str(error))
            return _refused(str(error))
    return 0


def run(plan: EvaluationPlan, output: OutputFolder) -> None:
    """Check everything, then score one model after the other, then write the results.

    Raises:
        UserError: bad input, found before any model was loaded where that is possible.
    """
    _prepare_process(plan)
    rows = None if plan.held_out is None else HeldOutRows(Path(plan.held_out))
    models = [check_model(model, plan, rows) for model in plan.models]
    job = _Job(plan, output, rows, build_tasks(plan))
    results: dict[str, _ModelResults] = {}
    for model in models:
        results[model.name] = _evaluate(model, job)
        release()
    summary = summarise(
        {name: result.rows for name, result in results.items()},
        {name: result.tasks for name, result in results.items()},
        partial=plan.documents is not None,
        higher_is_better=results[models[0].name].higher_is_better,
        versions={name: version(name) for name in ("lm-eval", "torch", "transformers")},
        seconds={name: round(result.seconds, 3) for name, result in results.items()},
    )
    output.results(summary)


def _prepare_process(plan: EvaluationPlan) -> None:
    if plan.verbosity != "DEBUG":
        silence_before_import()
        silence_libraries()
    keep_local()
    if plan.threads:
        import torch

        torch.set_num_threads(plan.threads)


def _evaluate(model: CheckedModel, job: _Job) -> _ModelResults:
    """Load one model and run all tasks on it."""
    started = time.monotonic()
    progress = Progress(job.output, model.name, job.documents)
    progress.say("loading the model")
    lm = load(model, job.plan, on_scored=lambda count: progress.add(count, HELD_OUT))
    results = _ModelResults()
    if job.rows is not None:
        results.rows = _run_held_out(lm, model, job.rows, job)
    for task in job.tasks:
        progress.say(task.name)
        report = _lm_eval(lm, task.loaded, job.plan, log_samples=job.plan.log_samples)
        results.tasks.update(report["results"])
        results.higher_is_better.update(report["higher_is_better"])
        for name, samples in report.get("samples", {}).items():
            job.output.samples(model.name, name, samples)
        progress.add(task.documents, task.name)
    results.seconds = time.monotonic() - started
    progress.say("done")
    return results


def _run_held_out(
    lm: ChatModel, model: CheckedModel, rows: HeldOutRows, job: _Job
) -> list[RowScore]:
    task = held_out_task(rows)
    _lm_eval(lm, {"tasks": {HELD_OUT: task}}, job.plan, log_samples=False)
    scores = row_scores(task)
    if all(score.skipped is not None for score in scores):
        raise UserError(
            f"model {model.name}: no row of {rows.path} could be scored ({scores[0].skipped}): "
            "raise max_length or split the conversations"
        )
    if job.plan.log_samples:
        job.output.samples(model.name, HELD_OUT, map(asdict, scores))
    return scores


def _lm_eval(lm: Any, tasks: TaskDict, plan: EvaluationPlan, *, log_samples: bool) -> Any:
    """lm-eval's evaluation, seeded anew so that every model meets the same draws.

    Not its ``simple_evaluate``, which starts programs to describe the machine.
    """
    import numpy as np
    import torch
    from lm_eval.evaluator import evaluate

    random.seed(plan.seed)
    np.random.seed(plan.seed)
    torch.manual_seed(plan.seed)
    for task in tasks["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(plan.seed)
    return evaluate(
        lm, tasks, limit=plan.documents, log_samples=log_samples, bootstrap_iters=_BOOTSTRAP
    )


def _refused(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
