"""What a training run will do, as a value: pure, printable, comparable without a GPU.

``make_plan`` maps the ``training`` block to the arguments that training_hub's function receives,
and refuses what the chosen backend cannot honour. The worker carries the plan out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.roles import ROLES
from ft_assets.config.training import TrainingConfig
from ft_assets.provenance.digest import value_digest
from ft_assets.training.arguments import in_process, instructlab, mini_trainer
from ft_assets.training.arguments.backends import GPU_BACKEND, Backend
from ft_assets.training.arguments.packages import refuse_missing_packages
from ft_assets.training.base_model import BaseModelRef
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.profiling.window import ProfileWindow
from ft_assets.training.start import Start
from resources.errors import UserError
from resources.record import Record

CODE_VERSION = "3"
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
    backend = choose_backend(config)
    refuse_what_never_runs(kubernetes, cluster=cluster)
    if config.effective_batch_size > train_rows:
        raise UserError(
            f"training.effective_batch_size ({config.effective_batch_size}) is larger than the "
            f"training set ({train_rows} rows): lower it or bring more rows"
        )
    parameters = backend_arguments(config, kubernetes, backend)
    refuse_missing_packages(config)
    _batch_fits_the_world(config, parameters)
    if config.validation_steps and held_out_file is None:
        raise UserError(
            f"training.validation_steps ({config.validation_steps}) measures held-out rows and "
            "nothing is held out: lower dataset.split, name an eval_uri, or set 0"
        )
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


def refuse_beyond_the_run(config: TrainingConfig, steps: int) -> None:
    """Refuse what lies outside the optimizer steps of a run, once they are known.

    Raises:
        UserError: the warm-up never ends, or the profiler records steps that are never done.
    """
    if config.warmup_steps >= steps:
        raise UserError(
            f"training.warmup_steps ({config.warmup_steps}) is not below the run's {steps} "
            "optimizer steps, so that the learning rate would never reach its peak: 5 to 10 % of "
            "the steps are usual"
        )
    if config.profiler_steps:
        ProfileWindow(config.profiler_steps_start, config.profiler_steps).check(steps)


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


def _batch_fits_the_world(config: TrainingConfig, parameters: dict[str, Any]) -> None:
    processes = int(parameters.get("nproc_per_node", 1)) * int(parameters.get("nnodes", 1))
    if config.effective_batch_size < processes:
        raise UserError(
            f"training.effective_batch_size ({config.effective_batch_size}) is below the number "
            f"of training processes ({processes}), each of which needs a row: raise it"
        )


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


def refuse_what_never_runs(kubernetes: KubernetesConfig, *, cluster: bool = False) -> None:
    """Refuse, before a run's first step does anything, what could not be started here.

    Args:
        kubernetes: the effective ``kubernetes`` block.
        cluster: whether there is a cluster, which can start several nodes.

    Raises:
        UserError: more than one worker, and no cluster.
    """
    if kubernetes.workers > 1 and not cluster:
        raise UserError(
            f"kubernetes.workers: {kubernetes.workers}: several nodes are started on a Kubernetes "
            "cluster (FT_EXECUTOR=k8s), and this is none: set 1"
        )


def choose_backend(config: TrainingConfig) -> Backend:
    """The backend that will train here.

    Raises:
        UserError: the backend that is named trains another algorithm, needs a GPU that this
            machine does not have, or does not work.
    """
    on_gpu = GPU_BACKEND[config.algorithm]
    if config.backend == "auto":
        return on_gpu if has_nvidia_gpu() else "cpu"
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
    if not has_nvidia_gpu():
        raise UserError(
            f"training.backend: {config.backend} needs an NVIDIA GPU and this machine has none: "
            "run on one that has, or set cpu"
        )
    return config.backend


def has_nvidia_gpu() -> bool:
    """Whether this machine (or container) shows an NVIDIA GPU; asked without loading torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*"))
