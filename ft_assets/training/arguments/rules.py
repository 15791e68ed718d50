"""The three things that can happen to a parameter, and how a table of them is applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ft_assets.config.training import TrainingConfig
from resources.errors import UserError


@dataclass(frozen=True)
class To:
    """The backend takes it, as the argument ``name`` of training_hub's function."""

    name: str
    leave_out: tuple[Any, ...] = ()
    """Values that are passed by leaving the argument out: the backend's own default then counts."""
    allowed: tuple[Any, ...] | None = None
    """The values that it can honour, where not all."""
    why: str = ""
    """Why it cannot honour the others."""


@dataclass(frozen=True)
class Platform:
    """The platform does it for every backend; ``where`` says which part of a plan holds it."""

    where: str


@dataclass(frozen=True)
class Only:
    """The backend cannot do anything else: other values are refused with the reason."""

    values: tuple[Any, ...]
    why: str


Rule = To | Platform | Only
Table = Mapping[str, Rule]

PLATFORM: Table = {
    "algorithm": Platform("algorithm"),
    "backend": Platform("backend"),
    "base_model": Platform("base_model"),
    "start_from": Platform("start_from"),
    "hf_token_env": Platform("base_model"),
    "chat_template": Platform("base_model"),
    "special_tokens": Platform("base_model"),
    "roles_to_train": Platform("mask"),
    "train_on_inputs": Platform("mask"),
    "train_on_eos": Platform("mask"),
    "unmask_messages": Platform("mask"),
    "env": Platform("env"),
    "extra": Platform("parameters"),
    "checkpoint_choice": Platform("checkpoint_choice"),
    "on_unhealthy": Platform("on_unhealthy"),
    "use_processed_dataset": Only(
        (False,), "rows with input_ids and labels are recognised by themselves: leave it out"
    ),
    "data_output_dir": Only(
        (None,), "the tokenized rows lie in the run's own folder: leave it out"
    ),
}
"""The same for every backend."""

OF_OSFT: tuple[str, ...] = ("unfreeze_rank_ratio", "target_patterns")
OF_LORA: tuple[str, ...] = (
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "use_rslora",
    "use_dora",
    "load_in_4bit",
    "load_in_8bit",
)


def not_of(algorithm: str, names: tuple[str, ...]) -> Table:
    """Refuse what belongs to another algorithm."""
    return {
        name: Only(
            (TrainingConfig.model_fields[name].default,),
            f"it belongs to algorithm {algorithm}: leave it out, or set algorithm: {algorithm}",
        )
        for name in names
    }


def apply(table: Table, config: TrainingConfig, backend: str) -> dict[str, Any]:
    """The arguments that a backend receives of the block.

    Raises:
        UserError: a parameter has a value that the backend cannot honour.
    """
    arguments: dict[str, Any] = {}
    for name in TrainingConfig.model_fields:
        rule, value = table[name], getattr(config, name)
        if isinstance(rule, Platform):
            continue
        allowed = rule.values if isinstance(rule, Only) else rule.allowed
        if allowed is not None and value not in allowed:
            raise refused(name, value, backend, rule.why)
        if isinstance(rule, To) and value not in rule.leave_out:
            arguments[rule.name] = value
    return arguments


def with_extra(
    arguments: dict[str, Any], config: TrainingConfig, backend: str, known: frozenset[str]
) -> dict[str, Any]:
    """The arguments with those of ``training.extra``, which must be fields of the backend.

    Raises:
        UserError: the backend has no such field, or a parameter of ours already is it.
    """
    for name in config.extra:
        if name in arguments:
            raise UserError(
                f"training.extra: {name} is already set, by the platform or by a parameter of the "
                "training block: leave it out, or set that one"
            )
        if name not in known:
            some = ", ".join(sorted(known)) or "none"
            raise UserError(
                f"training.extra: {name} is no argument of the {backend} backend that can be "
                f"passed on; there are: {some}"
            )
    return {**arguments, **config.extra}


def refused(name: str, value: object, backend: str, why: str) -> UserError:
    """The error for a parameter that a backend cannot honour."""
    return UserError(f"training.{name}: {value} cannot be honoured by the {backend} backend: {why}")
