"""What a training run will do, as a value: pure, printable, comparable without a GPU.

``make_plan`` maps the ``training`` block to the arguments that training_hub's function receives,
and refuses what the chosen backend cannot honour. The worker carries the plan out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.training import TrainingConfig
from ft_assets.provenance.digest import value_digest
from ft_assets.training.base_model import BaseModelRef
from ft_assets.training.mask import MaskPolicy
from resources.errors import UserError

CODE_VERSION = "2"
"""Raise it when the same plan would train another model."""

Backend = Literal["instructlab-training", "cpu"]


class TrainPlan(BaseModel):
    """One training run, complete: the worker needs nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    algorithm: Literal["sft"]
    backend: Backend
    base_model: BaseModelRef
    models_dir: str
    """Where prepared base models are kept."""
    train_file: str
    """The training side of the split: a row file."""
    parameters: dict[str, Any]
    """Arguments of training_hub's function beside model_path, data_path and ckpt_output_dir."""
    mask: MaskPolicy
    """Which turns are trained on."""
    env: dict[str, str]
    fingerprint: str


def make_plan(
    config: TrainingConfig,
    kubernetes: KubernetesConfig,
    *,
    base_model: BaseModelRef,
    models_dir: Path,
    train_file: Path,
    data_digest: str,
    train_rows: int,
    attempt: int = 0,
) -> TrainPlan:
    """Plan a run.

    Args:
        config: the effective ``training`` block.
        kubernetes: the effective ``kubernetes`` block: workers, GPUs and processes.
        base_model: the base model, located.
        models_dir: where prepared base models are kept.
        train_file: the training rows.
        data_digest: digest of the training rows; part of the fingerprint.
        train_rows: how many there are.
        attempt: 0, or the number of a forced repetition.

    Raises:
        UserError: the backend cannot do what the parameters ask for.
    """
    backend = choose_backend(config)
    refuse_what_never_runs(kubernetes)
    if config.effective_batch_size > train_rows:
        raise UserError(
            f"training.effective_batch_size ({config.effective_batch_size}) is larger than the "
            f"training set ({train_rows} rows): lower it or bring more rows"
        )
    parameters = (
        _instructlab(config, kubernetes) if backend == "instructlab-training" else _cpu(config)
    )
    mask = mask_policy(config)
    fingerprint = value_digest(
        {
            "code": CODE_VERSION,
            "backend": backend,
            "base_model": base_model.digest,
            "data": data_digest,
            "parameters": parameters,
            "mask": mask.model_dump(mode="json"),
            "env": config.env,
            "attempt": attempt,
        }
    )
    return TrainPlan(
        algorithm=config.algorithm,
        backend=backend,
        base_model=base_model,
        models_dir=str(models_dir),
        train_file=str(train_file),
        parameters=parameters,
        mask=mask,
        env=config.env,
        fingerprint=fingerprint,
    )


def mask_policy(config: TrainingConfig) -> MaskPolicy:
    """Which turns are trained on."""
    return MaskPolicy(
        roles_to_train=tuple(config.roles_to_train),
        train_on_inputs=config.train_on_inputs,
        train_on_eos=config.train_on_eos,
    )


def refuse_what_never_runs(kubernetes: KubernetesConfig) -> None:
    """Refuse, before a run's first step does anything, what no machine could train.

    Raises:
        UserError: more than one worker.
    """
    if kubernetes.workers > 1:
        raise UserError(
            f"kubernetes.workers: {kubernetes.workers}: training on several nodes is not part of "
            "this version: set 1"
        )


def choose_backend(config: TrainingConfig) -> Backend:
    """The backend that will train here.

    Raises:
        UserError: a GPU backend is named on a machine without a GPU.
    """
    if config.backend == "auto":
        return "instructlab-training" if has_nvidia_gpu() else "cpu"
    if config.backend == "instructlab-training" and not has_nvidia_gpu():
        raise UserError(
            "training.backend: instructlab-training needs an NVIDIA GPU and this machine has none: "
            "run on one that has, or set cpu"
        )
    return config.backend


def has_nvidia_gpu() -> bool:
    """Whether this machine (or container) shows an NVIDIA GPU; asked without loading torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _common(config: TrainingConfig) -> dict[str, Any]:
    return {
        "num_epochs": config.num_epochs,
        "effective_batch_size": config.effective_batch_size,
        "learning_rate": config.learning_rate,
        "max_seq_len": config.max_seq_len,
        "max_tokens_per_gpu": config.max_tokens_per_gpu,
        "warmup_steps": config.warmup_steps,
        "checkpoint_at_epoch": config.checkpoint_at_epoch,
        "save_samples": config.save_samples,
        "accelerate_full_state_at_epoch": config.save_full_state,
    }


def _cpu(config: TrainingConfig) -> dict[str, Any]:
    """Arguments of our own backend, which takes every name of the SFT table but the GPU's."""
    if config.use_liger:
        raise _refused(
            "use_liger", config.use_liger, "cpu", "Liger's kernels run on GPUs: set false"
        )
    if config.fsdp_sharding_strategy is not None:
        raise _refused(
            "fsdp_sharding_strategy",
            config.fsdp_sharding_strategy,
            "cpu",
            "one process has nothing to shard: leave it out",
        )
    return {
        **_common(config),
        "seed": config.seed,
        "lr_scheduler": config.lr_scheduler,
        "precision": config.precision,
        "threads": config.threads,
    }


def _instructlab(config: TrainingConfig, kubernetes: KubernetesConfig) -> dict[str, Any]:
    """Arguments of instructlab-training 0.16, under the names that it really reads."""
    backend = "instructlab-training"
    if config.lr_scheduler != "cosine":
        raise _refused(
            "lr_scheduler", config.lr_scheduler, backend, "it always uses cosine: set cosine"
        )
    if config.precision == "fp32":
        raise _refused("precision", config.precision, backend, "it trains in bf16: set auto")
    if config.threads:
        raise _refused("threads", config.threads, backend, "it is for the cpu backend: set 0")
    if not config.checkpoint_at_epoch and not config.save_samples:
        raise UserError(
            "training.checkpoint_at_epoch is false and save_samples is 0: instructlab-training "
            "would write no model at all: set one of them"
        )
    gpus = kubernetes.gpus_per_worker
    processes = gpus if kubernetes.procs_per_worker == "auto" else int(kubernetes.procs_per_worker)
    if processes > gpus or gpus < 1:
        raise UserError(
            f"kubernetes.procs_per_worker ({kubernetes.procs_per_worker}) and gpus_per_worker "
            f"({gpus}) do not fit {backend}: it needs a GPU for each process"
        )
    parameters: dict[str, Any] = {
        **_common(config),
        "process_data": False,  # the worker has made tokens and masks of the rows
        "random_seed": config.seed,  # the argument `seed` is ignored there
        "use_liger": config.use_liger,
        "nproc_per_node": processes,
        "nnodes": 1,
    }
    if config.fsdp_sharding_strategy is not None:
        parameters["fsdp_sharding_strategy"] = config.fsdp_sharding_strategy
    return parameters


def _refused(name: str, value: object, backend: str, why: str) -> UserError:
    return UserError(f"training.{name}: {value} cannot be honoured by the {backend} backend: {why}")
