"""The ``training`` block as a whole, with what all its parts are about: model, rows and batch."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, cast

from pydantic import field_validator, model_validator

from ft_assets.config.block import parameter
from ft_assets.config.secret import is_secret_name, is_secret_value, secret_error
from ft_assets.config.training.checkpoints import CheckpointParameters
from ft_assets.config.training.hardware import HardwareParameters
from ft_assets.config.training.masking import MaskParameters
from ft_assets.config.training.methods import LoraParameters, OsftParameters
from ft_assets.config.training.optimizer import OptimizerParameters
from ft_assets.config.training.watching import WatchingParameters

_ENV_NAME = re.compile(r"[A-Za-z_]\w*")


class TrainingConfig(
    WatchingParameters,
    HardwareParameters,
    MaskParameters,
    LoraParameters,
    OsftParameters,
    CheckpointParameters,
    OptimizerParameters,
):
    """What is trained, on what, and how. The defaults are those of the SFT pipeline."""

    not_taken: ClassVar[dict[str, str]] = {
        "adapter": "set algorithm: lora_sft, and load_in_4bit: true for QLoRA",
        "val_set_size": "held-out rows come from the split: see dataset.split",
        "sequence_len": "it is max_seq_len here",
        "deepspeed": "no backend here trains with DeepSpeed: FSDP shards (fsdp_sharding_strategy)",
        "fsdp_state_dict_type": "a standard checkpoint is always written: leave it out",
        "is_pretraining": "rows with a text field are raw text and are recognised by themselves",
        "block_size": "raw text is cut at max_seq_len",
        "document_column_name": "rename the column with dataset.field_messages or in the data",
    }

    algorithm: Literal["sft", "osft", "lora_sft"] = parameter(
        "sft",
        "Training algorithm: sft (all weights), osft (all weights, in the directions that matter "
        "least to what the model knows) or lora_sft (an adapter, merged into the model).",
        seed=("training_algorithm",),
    )
    backend: Literal["auto", "instructlab-training", "mini-trainer", "peft", "unsloth", "cpu"] = (
        parameter(
            "auto",
            "What trains: instructlab-training (sft on NVIDIA GPUs), mini-trainer (osft on NVIDIA "
            "GPUs), peft (lora_sft on one NVIDIA GPU), cpu (all three, in one process), or auto: "
            "the algorithm's own where there is a GPU, else cpu.",
            seed=("training_backend",),
        )
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
    start_from: Literal["base", "champion"] = parameter(
        "base",
        "What the training starts from: base is base_model; champion is the registered version in "
        "force (continual learning; base_model while there is none).",
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
    micro_batch_size: int = parameter(
        0,
        "Rows that are processed at once at most (cpu and peft); 0 leaves it to "
        "max_tokens_per_gpu.",
        ge=0,
    )
    gradient_accumulation_steps: int = parameter(
        0,
        "Parts that an optimizer step is made of; effective_batch_size = micro_batch_size x "
        "gradient_accumulation_steps x GPUs. 0 follows from the other two.",
        ge=0,
    )
    seed: int = parameter(
        42,
        "Seed of the training: order of the rows, dropout.",
        seed=("phase_02_train_opt_seed", "training_seed"),
        ge=0,
        le=2**32 - 1,
    )
    env: dict[str, str] = parameter(
        {},
        "Environment variables of the training process, as a map; values may hold commas.",
        seed=("phase_02_train_opt_env_vars", "training_envs"),
    )
    extra: dict[str, Any] = parameter(
        {},
        "Further arguments of the backend under its own names; one that it does not have, or that "
        "a parameter here already is, is refused.",
    )

    @field_validator("algorithm", mode="before")
    @classmethod
    def _case_of_the_seeds(cls, name: Any) -> Any:
        return name.lower() if isinstance(name, str) else name

    @field_validator("hf_token_env", mode="before")
    @classmethod
    def _is_no_token(cls, name: Any) -> Any:
        if isinstance(name, str) and is_secret_value(name):
            raise secret_error(
                "this is a token itself: put it into an environment variable and write the "
                "variable's name here"
            )
        return name

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
