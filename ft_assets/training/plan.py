"""What a training run will do, as a value: pure, printable, comparable without a GPU.

``make_plan`` maps the ``training`` block to the arguments that training_hub's function receives,
and refuses what the chosen backend cannot honour. The worker carries the plan out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.roles import ROLES
from ft_assets.config.training import TrainingConfig
from ft_assets.provenance.digest import value_digest
from ft_assets.training.arguments import in_process, instructlab, mini_trainer
from ft_assets.training.arguments.backends import GPU_BACKEND, Backend
from ft_assets.training.arguments.packages import (
    refuse_missing_packages,
    refuse_trackers_that_disagree,
)
from ft_assets.training.base_model import BaseModelRef
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.refusals import (
    refuse_a_batch_above_the_rows,
    refuse_a_loss_of_no_rows,
    refuse_processes_without_a_row,
    refuse_what_never_runs,
)
from ft_assets.training.start import Start
from resources.errors import UserError
from resources.record import Record

CODE_VERSION = "5"
"""Raise it when the same plan would train another model."""

Algorithm = Literal["sft", "osft", "lora_sft"]


class TrainPlan(Record):
    """One training run, complete: the worker needs nothing else."""

    algorithm: Algorithm
    backend: Backend
    base_model: BaseModelRef
    """The pipeline's; what is compared with, also where the training starts from a champion."""
    start_from: Literal["base", "champion"] = "base"
    """What was asked for: where there is no champion yet, the base model is the start of both."""
    start: Start | None = None
    """The registered version that the training starts from; None: the base model."""
    start_model: BaseModelRef | None = None
    """Where that lies, once the training is about to begin."""
    models_dir: str
    """Where prepared base models are kept."""
    train_file: str
    """The training side of the split: a row file."""
    held_out_file: str | None
    """The held-out side, for a loss while training; None where there is none."""
    parameters: dict[str, Any]
    """Arguments of training_hub's function beside model_path, data_path and ckpt_output_dir."""
    mask: MaskPolicy
    """Which turns are trained on."""
    env: dict[str, str]
    checkpoint_choice: Literal["last", "best"]
    on_unhealthy: Literal["stop", "warn"]
    fingerprint: str
    memory_remedies: tuple[str, ...] = ()
    """What to change when the GPU's memory (on the CPU: the machine's) is not enough."""
    host_memory_remedies: tuple[str, ...] = ()
    """What to change when the memory of a machine with GPUs is not enough."""

    @property
    def trained_from(self) -> BaseModelRef:
        """The model that is loaded and trained."""
        if self.start is None:
            return self.base_model
        assert self.start_model is not None, "it is located before the training begins"
        return self.start_model

    @classmethod
    def of_manifest(cls, metadata: Mapping[str, Any]) -> TrainPlan:
        """The plan that a trained model was made by.

        Raises:
            UserError: an earlier version of this project made it.
        """
        try:
            return cls.model_validate(metadata["plan"])
        except ValidationError as error:
            raise UserError(
                "the model was trained by an earlier version of this project: materialize "
                "finetuned_model again"
            ) from error


def make_plan(
    config: TrainingConfig,
    kubernetes: KubernetesConfig,
    *,
    base_model: BaseModelRef,
    models_dir: Path,
    train_file: Path,
    held_out_file: Path | None = None,
    data_digest: str,
    held_out_digest: str | None = None,
    train_rows: int,
    attempt: int = 0,
    start: Start | None = None,
    cluster: bool = False,
) -> TrainPlan:
    """Plan a run.

    Args:
        config: the effective ``training`` block.
        kubernetes: the effective ``kubernetes`` block: workers, GPUs and processes.
        base_model: the base model, located.
        models_dir: where prepared base models are kept.
        train_file: the training rows.
        held_out_file: the held-out rows, where there are any.
        data_digest: digest of the training rows; part of the fingerprint.
        held_out_digest: digest of the held-out rows; part of it where they choose the checkpoint.
        train_rows: how many there are.
        attempt: 0, or the number of a forced repetition.
        start: the registered version that the training starts from; None: the base model.
        cluster: whether there is a cluster, which can start several nodes.

    Raises:
        UserError: the backend cannot do what the parameters ask for.
    """
    refuse_what_never_runs(kubernetes, cluster=cluster)
    backend = choose_backend(config, kubernetes)
    held_out = held_out_file is not None
    here = kubernetes.workers == 1 or kubernetes.image is not None  # else the runtime's image
    for check in checks_of_a_run(
        config, kubernetes, backend, rows=train_rows, held_out=held_out, installed=here
    ):
        check()
    parameters = backend_arguments(config, kubernetes, backend)
    mask = mask_policy(config)
    fingerprint = value_digest(
        {
            "code": CODE_VERSION,
            "algorithm": config.algorithm,
            "backend": backend,
            "base_model": base_model.digest,
            "data": data_digest,
            "held_out": held_out_digest if config.checkpoint_choice == "best" else None,
            "parameters": parameters,
            "mask": mask.model_dump(mode="json"),
            "env": config.env,
            "checkpoint_choice": config.checkpoint_choice,
            "on_unhealthy": config.on_unhealthy,
            "attempt": attempt,
            # Without it the same as ever: a model that was trained from the base model is the same
            # whether that was asked for or there was no champion yet.
            **({} if start is None else {"start": start.digest}),
        }
    )
    return TrainPlan(
        algorithm=config.algorithm,
        backend=backend,
        base_model=base_model,
        start_from=config.start_from,
        start=start,
        models_dir=str(models_dir),
        train_file=str(train_file),
        held_out_file=None if held_out_file is None else str(held_out_file),
        parameters=parameters,
        mask=mask,
        env=config.env,
        checkpoint_choice=config.checkpoint_choice,
        on_unhealthy=config.on_unhealthy,
        fingerprint=fingerprint,
    )


def checks_of_a_run(
    config: TrainingConfig,
    kubernetes: KubernetesConfig,
    backend: Backend,
    *,
    rows: int | None,
    held_out: bool | None,
    installed: bool = True,
) -> Iterator[Callable[[], object]]:
    """What raises a UserError when it is called, if a run is refused by it.

    A run stops at the first; ``ft plan`` says what all of them say.

    Args:
        config: the effective ``training`` block.
        kubernetes: the effective ``kubernetes`` block.
        backend: what trains.
        rows: how many training rows there are; None: not known.
        held_out: whether there are held-out rows; None: not known.
        installed: whether the training would find the packages that are installed here.
    """
    if rows is not None:
        yield lambda: refuse_a_batch_above_the_rows(config, rows)
    yield lambda: _refuse_by_the_backend(config, kubernetes, backend, installed=installed)
    yield lambda: refuse_trackers_that_disagree(config)
    if held_out is not None:
        yield lambda: refuse_a_loss_of_no_rows(config, held_out=held_out)


def _refuse_by_the_backend(
    config: TrainingConfig, kubernetes: KubernetesConfig, backend: Backend, *, installed: bool
) -> None:
    """One after the other: a package is missed only where the backend would use it."""
    parameters = backend_arguments(config, kubernetes, backend)
    refuse_processes_without_a_row(config, parameters)
    if installed:
        refuse_missing_packages(config)


def backend_arguments(
    config: TrainingConfig, kubernetes: KubernetesConfig, backend: Backend
) -> dict[str, Any]:
    """What training_hub's function receives of the block, beside the paths.

    Raises:
        UserError: the backend cannot honour a parameter.
    """
    if backend == "instructlab-training":
        return instructlab.arguments(config, kubernetes)
    if backend == "mini-trainer":
        return mini_trainer.arguments(config, kubernetes)
    return in_process.arguments(config, kubernetes, backend)


def mask_policy(config: TrainingConfig) -> MaskPolicy:
    """Which turns are trained on."""
    roles = config.roles_to_train
    if config.unmask_messages:
        roles = [role for role in ROLES if role != "system"]
    return MaskPolicy(
        roles_to_train=tuple(roles),
        train_on_inputs=config.train_on_inputs,
        train_on_eos=config.train_on_eos,
    )


def choose_backend(config: TrainingConfig, kubernetes: KubernetesConfig) -> Backend:
    """The backend that will train: here, or on the nodes that a TrainJob has.

    Raises:
        UserError: the backend that is named trains another algorithm, needs a GPU that there is
            not, or does not work.
    """
    on_nodes = kubernetes.workers > 1  # the step that makes the TrainJob has no GPU itself
    has_gpu = kubernetes.gpus_per_worker > 0 if on_nodes else has_nvidia_gpu()
    on_gpu = GPU_BACKEND[config.algorithm]
    if config.backend == "auto":
        return on_gpu if has_gpu else "cpu"
    if config.backend == "unsloth":
        raise UserError(
            "training.backend: unsloth: training-hub 0.11 hands it an argument that trl 1.16 no "
            "longer has, and it would train on the prompts too: set peft"
        )
    if config.backend == "cpu":
        return "cpu"
    if config.backend != on_gpu:
        raise UserError(
            f"training.backend: {config.backend} does not train {config.algorithm}: set {on_gpu}, "
            "cpu or auto"
        )
    if has_gpu:
        return config.backend
    reason = "needs an NVIDIA GPU and this machine has none: run on one that has, or set cpu"
    if on_nodes:
        reason = "needs an NVIDIA GPU and kubernetes.gpus_per_worker is 0: raise it, or set cpu"
    raise UserError(f"training.backend: {config.backend} {reason}")


def has_nvidia_gpu() -> bool:
    """Whether this machine (or container) shows an NVIDIA GPU; asked without loading torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*"))
