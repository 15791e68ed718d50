"""What ``baseline_report`` and ``eval_report`` share: planning an evaluation and running it.

Belongs here: from a pipeline's evaluation block to a finished folder of results. Does not belong
here: which models are compared, and what is decided about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ft_assets.assets.step import Step
from ft_assets.data.split_report import HELD_OUT_FILE
from ft_assets.evaluation.plan import EvaluationPlan, ModelUnderTest
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.provenance.digest import value_digest
from ft_assets.provenance.own_tasks import tasks_digest
from ft_assets.training.base_model import BaseModelRef, locate_again, prepared_path
from ft_assets.training.prepare_worker import PreparePlan
from resources.errors import UserError
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.store import Artifact

RESULTS_FILE = "results.json"
SAMPLES_FOLDER = "samples"


def measured(this: Step, split: Artifact, models: dict[str, str | None], version: str) -> str:
    """Digest of everything that the results depend on.

    Args:
        this: the step; its evaluation block and its own tasks count.
        split: whose held-out rows are asked.
        models: digests by name.
        version: of the code that asks.
    """
    report: Any = split.manifest.metadata["report"]
    return value_digest(
        {
            "code": version,
            "models": models,
            "held_out": report["held_out_digest"],
            "config": this.spec.evaluation.model_dump(mode="json"),
            "tasks": this.own_tasks,
        }
    )


def evaluate(
    this: Step,
    split: Artifact,
    models: Sequence[ModelUnderTest],
    output: Path,
    *,
    home: Home,
    launcher: ProcessLauncher,
    leave_out: Path | None = None,
) -> None:
    """Have a process evaluate models on the same documents; results and samples are in ``output``.

    Answers that a model gave in an earlier evaluation are read from the cache; a forced repetition
    asks the models.

    Args:
        this: the step; its evaluation block says what is asked.
        split: whose held-out rows are asked.
        models: what is evaluated.
        output: folder of this evaluation.
        home: where the cache is.
        launcher: starts the process.
        leave_out: file with ids of held-out rows that are not asked.

    Raises:
        UserError: the pipeline's own tasks were changed meanwhile: nobody knows what was asked.
    """
    config = this.spec.evaluation
    include = this.include_folder
    plan = EvaluationPlan(
        models=list(models),
        held_out=_text(held_out_file(split)),
        leave_out=_text(leave_out),
        include_path=_text(include),
        cache=None if this.force else str(Path(home.path) / "evaluation-cache"),
        output_dir=str(output),
        **{
            name: getattr(config, name)
            for name in type(config).model_fields
            if name != "include_path"
        },
    )
    this.run_worker(launcher, "ft_assets.evaluation.worker", plan, output / "plan.json")
    if include is not None and tasks_digest(include) != this.own_tasks:
        raise UserError(
            f"evaluation.include_path: {include} was changed while its tasks were asked: run again"
        )


def held_out_file(split: Artifact) -> Path | None:
    """The held-out rows; None when there are none."""
    report: Any = split.manifest.metadata["report"]
    return split.file(HELD_OUT_FILE) if report["held_out_rows"] else None


def own_tasks(this: Step) -> dict[str, Any]:
    """What a manifest says about the pipeline's own tasks; nothing where it has none.

    ``ft verify`` compares their folder with it.
    """
    if this.own_tasks is None:
        return {}
    return {"own_tasks": {"folder": this.spec.evaluation.include_path, "digest": this.own_tasks}}


def base_folder(
    this: Step, base: BaseModelRef, home: Home, launcher: ProcessLauncher, output: Path
) -> Path:
    """The base model's folder on this machine, prepared if no step here has done so yet."""
    base = locate_again(base, folder=this.pipeline.folder, models=home.models)
    if prepared_path(base, home.models) is None:
        plan = PreparePlan(base_model=base, models_dir=str(home.models))
        this.run_worker(
            launcher, "ft_assets.training.prepare_worker", plan, output / "prepare.json"
        )
    path = prepared_path(base, home.models)
    assert path is not None
    return path


def read_summary(folder: Path) -> EvaluationSummary:
    """The results of an evaluation."""
    return EvaluationSummary.model_validate_json((folder / RESULTS_FILE).read_bytes())


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
