"""mini-trainer 0.9: OSFT on NVIDIA GPUs."""

from __future__ import annotations

from typing import Any

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.training import TrainingConfig
from ft_assets.training.arguments.common import COMMON, TORCHRUN, torchrun_world
from ft_assets.training.arguments.rules import (
    OF_LORA,
    PLATFORM,
    Only,
    Table,
    To,
    apply,
    not_of,
    with_extra,
)
from resources.errors import UserError

NAME = "mini-trainer"

_NEVER_ARRIVES = "it does not reach its training processes: leave it out"

TABLE: Table = {
    **PLATFORM,
    **COMMON,
    **TORCHRUN,
    **not_of("lora_sft", OF_LORA),
    "unfreeze_rank_ratio": To("unfreeze_rank_ratio"),
    "target_patterns": To("target_patterns", leave_out=([],)),  # the worker reads the model's kind
    "osft_memory_efficient_init": Only(
        (False,), "version 0.9 has no such parameter and decides itself: leave it out"
    ),
    "seed": To("seed"),
    "use_liger": To("use_liger"),
    "save_samples": To("min_samples_per_checkpoint", leave_out=(0,)),
    "save_full_state": Only(
        (False,), "it saves its full state when it is told to end, always and only then: set false"
    ),
    "save_final_checkpoint": To("save_final_checkpoint"),
    "fsdp_sharding_strategy": Only((None, "FULL_SHARD"), "FSDP2 shards fully there: leave it out"),
    "lr_scheduler": To("lr_scheduler"),
    "lr_scheduler_kwargs": To("lr_scheduler_kwargs", leave_out=({},)),
    "beta1": Only((0.9,), _NEVER_ARRIVES),
    "beta2": Only((0.95,), _NEVER_ARRIVES),
    "eps": Only((1e-8,), _NEVER_ARRIVES),
    "weight_decay": Only((0.0,), _NEVER_ARRIVES),
    "precision": Only(
        ("auto", "bf16"), "it computes in bf16 over weights in fp32: set auto, or extra.train_dtype"
    ),
    "attention": Only(("auto",), "it chooses by what is installed: set auto"),
    "validation_steps": To("validation_frequency", leave_out=(0,)),
    "validation_rows": To("validation_rows", leave_out=()),
    "tensorboard": Only((False,), "it writes no TensorBoard files: use wandb or mlflow"),
}

EXTRA = frozenset(
    {
        "osft_upcast_dtype",
        "save_dtype",
        "train_dtype",
        "trust_remote_code",
        "val_loss_improvement_threshold",
    }
)
"""Fields of its TrainingArgs that may be passed on.

The others are set by the platform, would set num_epochs aside (training_mode, max_steps,
max_tokens), or measure a held-out loss that it does not write down (validate_at_epoch).
"""


def arguments(config: TrainingConfig, kubernetes: KubernetesConfig) -> dict[str, Any]:
    """What ``training_hub.osft`` receives beside the paths.

    Raises:
        UserError: it cannot honour a parameter, or would write no model.
    """
    given = apply(TABLE, config, NAME)
    if not config.save_final_checkpoint and not config.checkpoint_at_epoch:
        raise UserError(
            "training.save_final_checkpoint and checkpoint_at_epoch are both false: mini-trainer "
            "would write no model at all: set one of them"
        )
    if config.validation_steps:
        given["validate_at_final"] = True
    if config.checkpoint_choice == "best":
        given["save_best_val_loss"] = True
    elif "val_loss_improvement_threshold" in config.extra:
        raise UserError(
            "training.extra: val_loss_improvement_threshold is about the best checkpoint: set "
            "training.checkpoint_choice to best, or leave it out"
        )
    given["on_demand_checkpointing"] = True  # a signal ends the run with a full state
    given["use_processed_dataset"] = True  # the worker has made tokens and masks of the rows
    return with_extra({**given, **torchrun_world(kubernetes, NAME)}, config, NAME, EXTRA)
