"""Which tokens of the rows are trained on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter
from ft_assets.config.roles import ROLES

_ASSISTANT = ["assistant"]


class MaskParameters(Block):
    """Chat template, special tokens and mask."""

    chat_template: str | None = parameter(
        None,
        "Chat template for a base model that has none: a name (chatml) or Jinja text. A base model "
        "that has one keeps its own.",
    )
    special_tokens: dict[str, str] = parameter(
        {},
        "Special tokens of the tokenizer, such as pad_token, where the base model has none or "
        "another; each is a token that its vocabulary has.",
    )
    roles_to_train: list[str] = parameter(
        _ASSISTANT,
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
    unmask_messages: bool = parameter(
        False,
        "Train on the turns of all roles but system; the same as naming them in roles_to_train.",
        seed=("phase_02_train_opt_unmask", "training_unmask_messages"),
    )
    use_processed_dataset: bool = parameter(
        False,
        "Rows are token ids already. Only false is taken: rows with input_ids and labels are "
        "recognised by themselves.",
        seed=("phase_02_train_opt_processed_data", "training_use_processed_dataset"),
    )

    @field_validator("roles_to_train")
    @classmethod
    def _known_roles(cls, roles: list[str]) -> list[str]:
        unknown = [role for role in roles if role not in ROLES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no role: there are {', '.join(ROLES)}")
        return roles

    @field_validator("special_tokens")
    @classmethod
    def _known_tokens(cls, tokens: dict[str, str]) -> dict[str, str]:
        known = ("pad_token", "eos_token", "bos_token", "unk_token")
        for name in tokens:
            if name not in known:
                raise ValueError(f"{name!r} is no special token: there are {', '.join(known)}")
        return tokens

    @model_validator(mode="after")
    def _one_way_to_unmask(self) -> Any:
        if self.unmask_messages and self.roles_to_train != _ASSISTANT:
            raise ValueError(
                "unmask_messages and roles_to_train both say which roles are trained on: keep one"
            )
        return self
