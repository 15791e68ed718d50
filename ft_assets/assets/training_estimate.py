"""What training will need, as a step estimates it before it starts, and whether that stops it.

Belongs here: where a run of this environment trains. Does not belong here: the arithmetic
(``ft_assets.training.estimate``), and what the check says (``ft_assets.checks.fits_memory``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ft_assets.checks import fits_memory
from ft_assets.executor import on_kubernetes
from ft_assets.training.arguments.backends import GPU_BACKEND
from ft_assets.training.estimate import TrainingEstimate, estimate, read_architecture
from ft_assets.training.estimate.architecture import NotEstimatedError
from ft_assets.training.estimate.world import this_cpu_is_fast_in_bf16
from ft_assets.training.plan import has_nvidia_gpu
from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.assets.step import Step
    from ft_assets.config import PipelineSpec
    from ft_assets.training.base_model import BaseModelRef
    from ft_assets.training.token_report import TokenReport
    from resources.home import Home


def backend_here(spec: PipelineSpec) -> str | None:
    """What trains a run that is started here; None where the ``training`` block names it.

    A pod of its own has the GPUs that it asks for, whatever the machine has that asks.
    """
    if spec.training.backend != "auto":
        return None
    on_gpu = spec.kubernetes.gpus_per_worker > 0 if on_kubernetes() else has_nvidia_gpu()
    return GPU_BACKEND[spec.training.algorithm] if on_gpu else "cpu"


def training_estimate(
    this: Step,
    model: BaseModelRef,
    home: Home,
    report: TokenReport | None,
    backend: str | None = None,
) -> TrainingEstimate | None:
    """What training these rows will need and take, in the effective specification.

    Args:
        this: the step.
        model: whose architecture the training has.
        home: where prepared base models are.
        report: the rows as tokens, where that is known.
        backend: what trains, where it is known; else what will train here or in its pod.

    Returns:
        the estimate, or None for a model of a kind that is trained and cannot be estimated.
    """
    try:
        architecture = read_architecture(model, home.models)
    except NotEstimatedError as error:
        this.context.log.warning(f"No estimate of memory and time: {error}")
        return None
    return estimate(
        architecture,
        this.spec.training,
        this.spec.kubernetes,
        report,
        backend=backend or backend_here(this.spec),
        cpu_has_bf16=this_cpu_is_fast_in_bf16(),
    )


def refuse_what_does_not_fit(planned: TrainingEstimate | None) -> None:
    """Refuse what the check of ``token_report`` stops, for a training that is run without it.

    Raises:
        UserError: the run is clearly too large; with what to change, as the check says it.
    """
    checked = fits_memory.check_result([], planned)
    if not checked.passed and checked.severity == dg.AssetCheckSeverity.ERROR:
        raise UserError(f"the check {fits_memory.NAME} stops the training: {checked.description}")
