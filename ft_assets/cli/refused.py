"""What ``ft plan`` says of a run that will not start, and of one that would be another one here.

Nothing is decided here: the same functions are called as when the run starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from ft_assets.assets.training_estimate import refuse_what_does_not_fit
from ft_assets.config import PipelineSpec
from ft_assets.executor import on_kubernetes
from ft_assets.training.base_folder import refuse_longer_rows
from ft_assets.training.base_model import BaseModelRef, prepared_path
from ft_assets.training.estimate import TrainingEstimate, World
from ft_assets.training.plan import (
    Backend,
    checks_of_a_run,
    choose_backend,
    has_nvidia_gpu,
)
from ft_assets.training.refusals import refuse_beyond_the_run, refuse_what_never_runs
from resources.errors import UserError
from resources.store import Artifact

_Checks = Iterator[Callable[[], object]]


def refusals(
    spec: PipelineSpec,
    planned: TrainingEstimate,
    *,
    split: Artifact | None,
    model: BaseModelRef,
    models: Path,
) -> list[str]:
    """Why the run that is planned would be refused where it trains; empty when it is not.

    Args:
        spec: the effective specification.
        planned: its estimate.
        split: the divided rows of the drop, where they are made.
        model: whose architecture the training has.
        models: where prepared base models are.
    """
    checks = [
        *_of_the_start(spec, planned.world, split),
        *_of_the_model(spec, model, models),
        *_of_the_estimate(spec, planned),
    ]
    return list(_said(checks))


def elsewhere(spec: PipelineSpec, world: World) -> list[str]:
    """How a run that is started here would differ from the one that is planned.

    A plan is made before there is a GPU or a cluster; its run is then started elsewhere.
    """
    if on_kubernetes():
        return []
    never = list(_said([lambda: refuse_what_never_runs(spec.kubernetes)]))
    if never:
        what = "the plan is for a cluster, and a run that is started here is refused"
        return [f"{what}: {refusal}" for refusal in never]
    return [_without_gpu(spec)] if world.on_gpu and not has_nvidia_gpu() else []


def _without_gpu(spec: PipelineSpec) -> str:
    planned_for = (
        f"the plan is for an NVIDIA GPU (kubernetes.gpus_per_worker: "
        f"{spec.kubernetes.gpus_per_worker}), and this machine has none"
    )
    if spec.training.backend != "auto":
        return f"{planned_for}: a run that is started here is refused"
    checks = checks_of_a_run(spec.training, spec.kubernetes, "cpu", rows=None, held_out=None)
    for refusal in _said(checks):
        return f"{planned_for}: a run that is started here is refused: {refusal}"
    return (
        f"{planned_for}: a run that is started here trains with the backend cpu, which "
        "--set training.backend=cpu plans"
    )


def _of_the_start(spec: PipelineSpec, world: World, split: Artifact | None) -> _Checks:
    """What the plan of a run refuses; what is installed counts on the machine that trains."""
    training = spec.training
    yield lambda: refuse_what_never_runs(spec.kubernetes, cluster=True)
    if training.backend not in ("auto", world.backend):  # it trains another algorithm
        yield lambda: choose_backend(training, spec.kubernetes)
    report: Any = None if split is None else split.manifest.metadata["report"]
    yield from checks_of_a_run(
        training,
        spec.kubernetes,
        cast("Backend", world.backend),
        rows=None if report is None else report["train_rows"],
        held_out=None if report is None else bool(report["held_out_rows"]),
        installed=not on_kubernetes() and not elsewhere(spec, world),
    )


def _of_the_model(spec: PipelineSpec, model: BaseModelRef, models: Path) -> _Checks:
    """What the worker refuses when it has the model; one that is not here yet is not asked."""
    folder = prepared_path(model, models)
    if folder is None and model.kind == "folder":
        folder = Path(model.location)
    if folder is not None:
        found = folder
        yield lambda: refuse_longer_rows(model, found, spec.training.max_seq_len)


def _of_the_estimate(spec: PipelineSpec, planned: TrainingEstimate) -> _Checks:
    rows = planned.rows
    if rows is not None:
        yield lambda: refuse_beyond_the_run(spec.training, rows.steps)
    yield lambda: refuse_what_does_not_fit(planned)


def _said(checks: Iterable[Callable[[], object]]) -> Iterator[str]:
    for check in checks:
        try:
            check()
        except UserError as error:
            yield str(error)
