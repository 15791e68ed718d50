"""instructlab-training 0.16: all weights, on NVIDIA GPUs."""

from __future__ import annotations

from typing import Any

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.training import TrainingConfig
from ft_assets.training.arguments.common import COMMON, TORCHRUN, torchrun_world
from ft_assets.training.arguments.rules import (
    OF_LORA,
    OF_OSFT,
    PLATFORM,
    Only,
    Table,
    To,
    apply,
    not_of,
    with_extra,
)
from resources.errors import UserError

NAME = "instructlab-training"

_NOT_HELD_OUT = (
    "it can only cut validation rows from the training rows, and the split has held out its own: "
    "set 0"
)

TABLE: Table = {
    **PLATFORM,
    **COMMON,
    **TORCHRUN,
    **not_of("osft", (*OF_OSFT, "osft_memory_efficient_init")),
    **not_of("lora_sft", OF_LORA),
    "seed": To("random_seed"),  # its argument `seed` is ignored there
    "use_liger": To("use_liger"),
    "save_samples": To("save_samples"),
    "save_full_state": To("accelerate_full_state_at_epoch"),
    "save_final_checkpoint": Only(
        (True,), "checkpoint_at_epoch and save_samples say what it writes: set true"
    ),
    "fsdp_sharding_strategy": To("fsdp_sharding_strategy", leave_out=(None,)),
    "lr_scheduler": Only(("cosine",), "it always uses cosine: set cosine"),
    "lr_scheduler_kwargs": Only(({},), "its scheduler takes no arguments: leave it out"),
    "beta1": To("beta1"),
    "beta2": To("beta2"),
    "eps": To("eps"),
    "weight_decay": To("weight_decay"),
    "precision": Only(("auto", "bf16"), "it trains in bf16: set auto"),
    "attention": Only(
        ("auto", "sdpa", "flash_attention_2"), "it has sdpa and flash_attention_2: set auto"
    ),
    "validation_steps": Only((0,), _NOT_HELD_OUT),
    "validation_rows": Only((128,), "it measures no held-out rows: leave it out"),
    "tensorboard": To("tensorboard", leave_out=(False,)),
}

EXTRA = frozenset(
    {
        "keep_last_checkpoint_only",
        "trust_remote_code",
        "log_level",
    }
)
"""Fields of its TrainingArgs that may be passed on; the others are set by the platform."""


def arguments(config: TrainingConfig, kubernetes: KubernetesConfig) -> dict[str, Any]:
    """What ``training_hub.sft`` receives beside the paths.

    Raises:
        UserError: it cannot honour a parameter, or would write no model.
    """
    given = apply(TABLE, config, NAME)
    if not config.checkpoint_at_epoch and not config.save_samples:
        raise UserError(
            "training.checkpoint_at_epoch is false and save_samples is 0: instructlab-training "
            "would write no model at all: set one of them"
        )
    given["on_demand_checkpointing"] = True  # a signal ends the run with a full state
    given["process_data"] = False  # the worker has made tokens and masks of the rows
    if config.attention != "auto":
        given["disable_flash_attn"] = config.attention == "sdpa"
    return with_extra({**given, **torchrun_world(kubernetes, NAME)}, config, NAME, EXTRA)
