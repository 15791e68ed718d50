"""The ``training`` block: what ``finetuned_model`` does."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter
from ft_assets.config.roles import ROLES
from ft_assets.config.secret import is_secret_name, is_secret_value, secret_error

_ENV_NAME = re.compile(r"[A-Za-z_]\w*")


class TrainingConfig(Block):
    """What is trained, on what, and how. The defaults are those of the SFT pipeline."""

    algorithm: Literal["sft"] = parameter(
        "sft", "Training algorithm: sft (supervised fine-tuning).", seed=("training_algorithm",)
    )
    backend: Literal["auto", "instructlab-training", "cpu"] = parameter(
        "auto",
        "What trains: instructlab-training (NVIDIA GPUs), cpu (transformers' Trainer in one "
        "process), or auto: instructlab-training where there is a GPU, else cpu.",
        seed=("training_backend",),
    )
    base_model: str = parameter(
        "Qwen/Qwen2.5-1.5B-Instruct",
        "The model to start from: org/name[@revision] or hf://org/name[@revision] on the hub, a "
        "folder, or package://PACKAGE/FILE inside an installed Python package.",
        seed=(
            "phase_02_train_man_model",
            "phase_02_train_man_train_model",
            "training_base_model",
        ),
        min_length=1,
    )
    hf_token_env: str = parameter(
        "HF_TOKEN",
        "Name of the environment variable that holds the hub token, for gated models.",
        seed=("phase_02_train_opt_hf_token",),
        pattern=r"^[A-Za-z_]\w*$",
    )
    num_epochs: int = parameter(
        1,
        "How often every training row is seen.",
        seed=(
            "phase_02_train_man_epochs",
            "phase_02_train_man_train_epochs",
            "training_num_epochs",
        ),
        ge=1,
    )
    effective_batch_size: int = parameter(
        128,
        "Rows per optimizer step, over all GPUs.",
        seed=(
            "phase_02_train_man_batch",
            "phase_02_train_man_train_batch",
            "training_effective_batch_size",
        ),
        ge=1,
    )
    max_tokens_per_gpu: int = parameter(
        10_000,
        "Tokens that one GPU (or the CPU) processes at once: the cap on memory. A batch with more "
        "is split into parts whose gradients are added up.",
        seed=(
            "phase_02_train_man_tokens",
            "phase_02_train_man_train_tokens",
            "training_max_tokens_per_gpu",
        ),
        ge=1,
    )
    max_seq_len: int = parameter(
        8192,
        "Longest row in tokens; longer rows are not trained on, and counted.",
        seed=("phase_02_train_opt_max_seq_len", "training_max_seq_len"),
        gt=20,
    )
    learning_rate: float = parameter(
        5e-6,
        "Peak learning rate of AdamW.",
        seed=("phase_02_train_opt_learning_rate", "training_learning_rate"),
        gt=0.0,
        lt=1.0,
    )
    warmup_steps: int = parameter(
        0,
        "Optimizer steps over which the learning rate rises from 0 to its peak.",
        seed=("phase_02_train_opt_lr_warmup", "training_lr_warmup_steps"),
        ge=0,
    )
    lr_scheduler: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"
    ] = parameter(
        "cosine",
        "How the learning rate moves after the warm-up. instructlab-training knows cosine only.",
        seed=("phase_02_train_opt_lr_scheduler", "training_lr_scheduler"),
    )
    seed: int = parameter(
        42,
        "Seed of the training: order of the rows, dropout.",
        seed=("phase_02_train_opt_seed", "training_seed"),
        ge=0,
        le=2**32 - 1,
    )
    use_liger: bool = parameter(
        False,
        "Liger's fused kernels (NVIDIA GPUs).",
        seed=("phase_02_train_opt_use_liger", "training_use_liger"),
    )
    checkpoint_at_epoch: bool = parameter(
        True,
        "Write a checkpoint after each epoch.",
        seed=("phase_02_train_opt_save_epoch", "training_checkpoint_at_epoch"),
    )
    save_samples: int = parameter(
        0,
        "Also write a checkpoint each time this many rows have been seen; 0 does not. A multiple "
        "of effective_batch_size.",
        seed=("phase_02_train_opt_save_samples", "training_save_samples"),
        ge=0,
    )
    save_full_state: bool = parameter(
        False,
        "Checkpoints also hold the optimizer, so that an interrupted run goes on where it was. "
        "Three times the model's size on disk.",
        seed=(
            "phase_02_train_opt_save_full_state",
            "training_accelerate_full_state_at_epoch",
            "accelerate_full_state_at_epoch",
        ),
    )
    fsdp_sharding_strategy: (
        Literal["FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD", "NO_SHARD"] | None
    ) = parameter(
        None,
        "How FSDP divides the model among GPUs; the backend's own default when not set.",
        seed=("phase_02_train_opt_fsdp_sharding", "training_fsdp_sharding_strategy"),
    )
    chat_template: str | None = parameter(
        None,
        "Chat template for a base model that has none: a name (chatml) or Jinja text. A base model "
        "that has one keeps its own.",
    )
    roles_to_train: list[str] = parameter(
        ["assistant"],
        "Roles whose turns are trained on (axolotl's name). A turn's own train flag goes before "
        "it.",
    )
    train_on_inputs: bool = parameter(
        False, "Train on the turns of all roles (axolotl's name); their headers are never trained."
    )
    train_on_eos: Literal["turn", "all", "last", "none"] = parameter(
        "turn",
        "Which tokens that end a turn are trained on: those of trained turns, of all turns, of the "
        "last turn of a row, or none.",
    )
    precision: Literal["auto", "fp32", "bf16"] = parameter(
        "auto",
        "Arithmetic of the cpu backend: bf16 (autocast over fp32 weights), fp32, or auto: bf16 on "
        "processors that compute in it, else fp32.",
    )
    threads: int = parameter(
        0, "Threads of the cpu backend; 0 takes the cores that are free.", ge=0, le=1024
    )
    env: dict[str, str] = parameter(
        {},
        "Environment variables of the training process, as a map; values may hold commas.",
        seed=("phase_02_train_opt_env_vars", "training_envs"),
    )

    @field_validator("hf_token_env", mode="before")
    @classmethod
    def _is_no_token(cls, name: Any) -> Any:
        if isinstance(name, str) and is_secret_value(name):
            raise secret_error(
                "this is a token itself: put it into an environment variable and write the "
                "variable's name here"
            )
        return name

    @field_validator("roles_to_train")
    @classmethod
    def _known_roles(cls, roles: list[str]) -> list[str]:
        unknown = [role for role in roles if role not in ROLES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no role: there are {', '.join(ROLES)}")
        return roles

    @field_validator("env", mode="before")
    @classmethod
    def _env_is_no_place_for_secrets(cls, env: Any) -> Any:
        """Before the values' types are looked at: a message about a type shows the value."""
        if not isinstance(env, dict):
            return env
        given = cast("dict[Any, Any]", env)
        for name in map(str, given):
            if is_secret_name(name):
                raise secret_error(
                    f"{name} looks like a secret: keep its value out of the pipeline and name a "
                    "Kubernetes secret or an environment variable of the process instead"
                )
            if not _ENV_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
        return given

    @model_validator(mode="after")
    def _fields_agree(self) -> TrainingConfig:
        if self.max_tokens_per_gpu < self.max_seq_len:
            raise ValueError(
                f"max_tokens_per_gpu ({self.max_tokens_per_gpu}) is below max_seq_len "
                f"({self.max_seq_len}): one row of full length would not fit; raise the first or "
                "lower the second"
            )
        if self.save_samples % self.effective_batch_size:
            raise ValueError(
                f"save_samples ({self.save_samples}) is not a multiple of effective_batch_size "
                f"({self.effective_batch_size}): no step would ever end there"
            )
        if self.save_full_state and not (self.checkpoint_at_epoch or self.save_samples):
            raise ValueError(
                "save_full_state needs checkpoints: set checkpoint_at_epoch or save_samples"
            )
        return self
