"""The evaluation process: ``python -m ft_assets.evaluation.worker PLAN.json``.

Exit status 0: ``results.json`` is in the plan's output folder. 2: bad input; its message is on
stderr and in ``error.json``. Anything else is a fault of the program, with a traceback.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ft_assets.evaluation.draws import set_examples
from ft_assets.evaluation.generation_rows import chosen_rows
from ft_assets.evaluation.held_out import HeldOutRows, read_left_out
from ft_assets.evaluation.held_out_run import answer_held_out, held_out_samples, score_held_out
from ft_assets.evaluation.lm_tasks import run_task, seeds_of
from ft_assets.evaluation.models import CheckedModel, backend_of, check_model, close, load, release
from ft_assets.evaluation.noise import (
    keep_local,
    logging_to,
    silence_before_import,
    silence_libraries,
)
from ft_assets.evaluation.output import OutputFolder, Progress
from ft_assets.evaluation.plan import HELD_OUT, EvaluationPlan
from ft_assets.evaluation.summary import EvaluationSummary, summarise
from ft_assets.evaluation.task_versions import SCORING_VERSION, held_out_version, task_version
from ft_assets.evaluation.tasks import BuiltTask, build_tasks
from resources.errors import UserError
from resources.launcher.child import PARENT, die_with_parent, leave, open_reporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ft_assets.evaluation.scores import AnswerScore, RowScore
    from ft_assets.evaluation.scoring import ChatModel

_LIBRARIES = ("lm-eval", "torch", "transformers", "rapidfuzz", "sacrebleu")


@dataclass(frozen=True)
class _Job:
    """What every model goes through."""

    plan: EvaluationPlan
    output: OutputFolder
    rows: HeldOutRows | None
    questions: list[int]
    """Numbers of the held-out rows that are answered."""
    tasks: list[BuiltTask]
    versions: dict[str, str]
    """Per task with samples."""
    seeds: dict[str, int]
    """Per task with samples, how many seeds it runs with."""

    @property
    def held_out_rows(self) -> int:
        """Held-out rows that each model is asked."""
        count = 0 if self.rows is None else len(self.rows)
        return count if self.plan.documents is None else min(count, self.plan.documents)

    @property
    def documents(self) -> int:
        """Documents that each model is asked."""
        own = self.held_out_rows + len(self.questions)
        return own + sum(task.documents for task in self.tasks)


@dataclass
class _ModelResults:
    """What one model scored."""

    rows: list[RowScore] | None = None
    answers: list[AnswerScore] = field(default_factory=list["AnswerScore"])
    tasks: dict[str, Any] = field(default_factory=dict[str, Any])
    higher_is_better: dict[str, Any] = field(default_factory=dict[str, Any])
    documents: dict[str, int] = field(default_factory=dict[str, int])
    backends: dict[str, str] = field(default_factory=dict[str, str])
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
    rows = _held_out_rows(plan)
    models = [check_model(model, plan, rows) for model in plan.models]
    job = _prepared_job(plan, output, rows)
    results: dict[str, _ModelResults] = {}
    for model in models:
        results[model.name] = _evaluate(model, job)
        release()
    output.results(_summary(job, results))


def _held_out_rows(plan: EvaluationPlan) -> HeldOutRows | None:
    if plan.held_out is None:
        return None
    leave_out = frozenset[str]() if plan.leave_out is None else read_left_out(Path(plan.leave_out))
    return HeldOutRows(Path(plan.held_out), leave_out)


def _prepared_job(plan: EvaluationPlan, output: OutputFolder, rows: HeldOutRows | None) -> _Job:
    """What is asked, decided once for all models."""
    tasks = build_tasks(plan)
    set_examples(tasks, plan.num_fewshot)
    leaves = {name: task for entry in tasks for name, task in entry.leaves.items()}
    versions = {name: task_version(task, plan) for name, task in leaves.items()}
    seeds = {name: len(seeds_of(task, plan)) for name, task in leaves.items()}
    questions: list[int] = []
    if rows is not None:
        questions = chosen_rows(rows, plan.held_out_generations, plan.documents)
        versions[HELD_OUT] = held_out_version(rows, plan)
        seeds[HELD_OUT] = 1
    return _Job(plan, output, rows, questions, tasks, versions, seeds)


def _summary(job: _Job, results: dict[str, _ModelResults]) -> EvaluationSummary:
    first = next(iter(results.values()))
    summary = summarise(
        {name: result.rows for name, result in results.items()},
        {name: result.tasks for name, result in results.items()},
        partial=job.plan.documents is not None,
        answers={name: result.answers for name, result in results.items()},
        left_out_rows=0 if job.rows is None else job.rows.left_out,
        higher_is_better=first.higher_is_better,
        versions={name: version(name) for name in _LIBRARIES},
        seconds={name: round(result.seconds, 3) for name, result in results.items()},
    )
    return summary.model_copy(
        update={
            "task_versions": job.versions,
            "model_digests": {model.name: model.digest for model in job.plan.models},
            "backends": {name: result.backends for name, result in results.items()},
            "documents": first.documents,
            "seeds": job.seeds,
            "leaves": {entry.name: sorted(entry.leaves) for entry in job.tasks},
        }
    )


def _prepare_process(plan: EvaluationPlan) -> None:
    if plan.verbosity != "DEBUG":
        silence_before_import()
        silence_libraries()
    keep_local()


def _evaluate(model: CheckedModel, job: _Job) -> _ModelResults:
    """Load one model and run all tasks on it."""
    started = time.monotonic()
    progress = Progress(job.output, model.name, job.documents)
    progress.say("loading the model")
    lm = load(model, job.plan, on_scored=lambda count: progress.add(count, HELD_OUT))
    lm.seed = job.plan.seed
    leaves = [leaf for task in job.tasks for leaf in task.leaves.items()]
    lm.task_versions = {HELD_OUT: SCORING_VERSION} | {n: str(leaf.VERSION) for n, leaf in leaves}
    results = _ModelResults()
    if job.rows is not None:
        _run_held_out(lm, model.name, job, results, progress)
    for task in job.tasks:
        progress.say(task.name)
        scored = run_task(lm, model.name, task, job.plan, job.output)
        results.tasks.update(scored.metrics)
        results.higher_is_better.update(scored.higher_is_better)
        results.documents.update(scored.documents)
        results.backends.update(scored.backends)
        progress.add(task.documents, task.name)
    close(lm)
    results.seconds = time.monotonic() - started
    progress.say("done")
    return results


def _run_held_out(
    lm: ChatModel, model: str, job: _Job, results: _ModelResults, progress: Progress
) -> None:
    plan, rows = job.plan, job.rows
    assert rows is not None
    results.rows = score_held_out(lm, model, rows, plan)
    if job.questions:
        progress.say("answering held-out rows")
        results.answers = answer_held_out(lm, rows, job.questions, plan)
        progress.add(len(job.questions), "answering held-out rows")
    results.documents[HELD_OUT] = len(results.rows)
    results.backends[HELD_OUT] = backend_of(lm, "score_chat", HELD_OUT)
    job.output.samples(
        model,
        HELD_OUT,
        held_out_samples(rows, results.rows, results.answers, texts=plan.log_samples),
    )


def _refused(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ in ("__main__", "__mp_main__"):
    # The second is the name in processes that this one starts: vLLM's on a GPU, which would outlive
    # it when it is killed, and keep the GPU's memory.
    die_with_parent()
    os.environ[PARENT] = str(os.getpid())
if __name__ == "__main__":
    leave(main())
