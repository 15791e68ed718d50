"""The ``recipes`` block: variants of the training, each with models of its own.

Belongs here: what a recipe may say, and the training that it makes of the pipeline's own. Does not
belong here: the parameters of training (``training/``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer

from ft_assets.config.secret import SECRET, shown_value
from ft_assets.config.training import TrainingConfig

DEFAULT = "default"
"""What the training block itself is called, where recipes are named."""
PER_RECIPE = ("token_report", "finetuned_model", "eval_report", "registered_version")
"""The assets that each recipe has of its own; the others are shared."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_TAKEN = (*PER_RECIPE, "raw_dataset", "split_dataset", "baseline_report", "leaderboard", DEFAULT)


def _as_it_stands(recipe: RecipeConfig) -> RecipeConfig:
    return recipe


_NO_CHECK: Any = _as_it_stands


class RecipeConfig(TrainingConfig):
    """What a recipe changes of the training block; whatever it leaves out stays as it is there."""

    @model_serializer(mode="wrap")
    def _only_what_it_says(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name in self.model_fields_set}

    # Parameters have to agree in the training that comes out, not among the few of a recipe: this
    # takes the place of the checks that come after all of a block's parameters are read.
    _fields_agree = _NO_CHECK
    _scheduler_knows_its_arguments = _NO_CHECK
    _best_is_measured = _NO_CHECK
    _one_quantization = _NO_CHECK
    _one_way_to_unmask = _NO_CHECK
    _one_way_to_meet = _NO_CHECK


def refuse_bad_names(recipes: Mapping[str, RecipeConfig]) -> None:
    """Refuse a recipe that could not be part of an asset's key.

    Raises:
        ValueError: a name is not allowed, or is that of an asset.
    """
    for name in recipes:
        if name in _TAKEN:
            raise ValueError(f"{name!r} is the name of something else: call the recipe otherwise")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name of a recipe: at most 31 lower-case letters, digits and _, "
                "beginning with a letter"
            )


def training_of(training: TrainingConfig, name: str, recipe: RecipeConfig) -> TrainingConfig:
    """The training block as a recipe changes it.

    Raises:
        ValueError: the values do not agree; the message names the recipe and the parameter.
    """
    try:
        return TrainingConfig.model_validate({**training.model_dump(), **recipe.model_dump()})
    except ValidationError as error:
        messages = [
            ".".join([*map(str, item["loc"]), ""]).rstrip(".")
            + (": " if item["loc"] else "")
            + item["msg"].removeprefix("Value error, ")
            + ("" if item["type"] == SECRET or not item["loc"] else shown_value(item["input"]))
            for item in error.errors()
        ]
        raise ValueError(f"recipe {name}: " + "; ".join(messages)) from None
