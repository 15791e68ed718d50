"""How the weights move: the optimizer and the learning rate."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import model_validator

from ft_assets.config.block import Block, parameter

SCHEDULER_ARGUMENTS: dict[str, frozenset[str]] = {
    "linear": frozenset(),
    "cosine": frozenset({"num_cycles"}),
    "cosine_with_restarts": frozenset({"num_cycles"}),
    "polynomial": frozenset({"lr_end", "power"}),
    "constant": frozenset(),
    "constant_with_warmup": frozenset(),
    "inverse_sqrt": frozenset({"timescale"}),
    "cosine_with_min_lr": frozenset({"num_cycles", "min_lr", "min_lr_rate"}),
    "cosine_warmup_with_min_lr": frozenset(
        {"num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"}
    ),
    "warmup_stable_decay": frozenset(
        {
            "num_decay_steps",
            "num_stable_steps",
            "warmup_type",
            "decay_type",
            "min_lr_ratio",
            "num_cycles",
        }
    ),
}
"""transformers' schedulers (``SchedulerType``) and the arguments that each takes."""

_TEXTS = {"warmup_type", "decay_type"}


class OptimizerParameters(Block):
    """AdamW and the learning rate."""

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
        "cosine",
        "linear",
        "constant",
        "constant_with_warmup",
        "polynomial",
        "inverse_sqrt",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
    ] = parameter(
        "cosine",
        "How the learning rate moves after the warm-up. instructlab-training knows cosine only.",
        seed=("phase_02_train_opt_lr_scheduler", "training_lr_scheduler"),
    )
    lr_scheduler_kwargs: dict[str, Any] = parameter(
        {},
        "Arguments of the scheduler, numbers as numbers: min_lr_rate for cosine_with_min_lr, "
        "num_decay_steps for warmup_stable_decay.",
        seed=("phase_02_train_opt_lr_scheduler_kwargs", "training_lr_scheduler_kwargs"),
    )
    optimizer: Literal["adamw_torch_fused", "adamw_8bit", "adamw_bnb_8bit"] = parameter(
        "adamw_torch_fused",
        "Implementation of AdamW. The 8-bit ones need bitsandbytes and an NVIDIA GPU.",
    )
    beta1: float = parameter(0.9, "AdamW's decay of the first moment.", ge=0.0, lt=1.0)
    beta2: float = parameter(0.95, "AdamW's decay of the second moment.", ge=0.0, lt=1.0)
    eps: float = parameter(1e-8, "AdamW's epsilon.", gt=0.0)
    weight_decay: float = parameter(0.0, "AdamW's weight decay.", ge=0.0)
    max_grad_norm: float = parameter(
        1.0, "Gradients of a larger norm are scaled down to it.", gt=0.0
    )

    @model_validator(mode="before")
    @classmethod
    def _no_text_for_a_map(cls, values: Any) -> Any:
        """The seeds' form, ``key=value,key=value``, is told how it is written here."""
        key = "lr_scheduler_kwargs"
        if not isinstance(values, dict):
            return values
        given = dict(cast("dict[str, Any]", values))
        if given.get(key) == "":
            given[key] = {}
        elif isinstance(given.get(key), str):
            raise ValueError(f"{key} is a map here, such as {{min_lr_rate: 0.1}}, and no text")
        return given

    @model_validator(mode="after")
    def _scheduler_knows_its_arguments(self) -> Any:
        known = SCHEDULER_ARGUMENTS[self.lr_scheduler]
        for name, value in self.lr_scheduler_kwargs.items():
            if name not in known:
                takes = ", ".join(sorted(known)) or "no arguments"
                raise ValueError(
                    f"lr_scheduler_kwargs: {name} is not known to {self.lr_scheduler}, which takes "
                    f"{takes}"
                )
            kind, wanted = ("text", str) if name in _TEXTS else ("number", (int, float))
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise ValueError(  # noqa: TRY004  (pydantic takes no TypeError)
                    f"lr_scheduler_kwargs: {name} is {value!r}: write a {kind}"
                )
        if self.lr_scheduler == "warmup_stable_decay" and (
            "num_decay_steps" not in self.lr_scheduler_kwargs
        ):
            raise ValueError(
                "lr_scheduler: warmup_stable_decay needs lr_scheduler_kwargs: {num_decay_steps: N}"
            )
        if self.lr_scheduler in ("cosine_with_min_lr", "cosine_warmup_with_min_lr") and (
            len({"min_lr", "min_lr_rate"} & self.lr_scheduler_kwargs.keys()) != 1
        ):
            raise ValueError(
                f"lr_scheduler: {self.lr_scheduler} needs one of min_lr and min_lr_rate in "
                "lr_scheduler_kwargs"
            )
        return self
