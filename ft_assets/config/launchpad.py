"""Blocks as Dagster run config: what the launchpad shows, and what a run changes.

Every value of the pipeline file is the default of a field, so that a run from the UI, a backfill
or a schedule needs no config, and a person can change one value for one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import Field, ValidationError, create_model

from ft_assets.config.block import Block
from ft_assets.config.dataset import SourceConfig, SplitConfig
from ft_assets.config.evaluation import EvaluationConfig
from ft_assets.config.pipeline import PipelineSpec
from ft_assets.config.registry import RegistryConfig
from ft_assets.config.secret import shown_value
from ft_assets.config.training import TrainingConfig
from resources.errors import UserError

# Which block of the pipeline file each asset reads, and the class of the part that it shows.
BLOCK_OF_ASSET: dict[str, tuple[str, type[Block]]] = {
    "raw_dataset": ("dataset", SourceConfig),
    "split_dataset": ("dataset", SplitConfig),
    "token_report": ("training", Block),  # shown where it is set: at finetuned_model
    "finetuned_model": ("training", TrainingConfig),
    "eval_report": ("evaluation", EvaluationConfig),
    "registered_version": ("registry", RegistryConfig),
}

# Assets whose work costs enough to be skipped when nothing changed.
FORCEABLE = ("finetuned_model", "eval_report")


def run_config_class(spec: PipelineSpec, asset: str) -> type[dg.Config]:
    """The Dagster ``Config`` of one asset of one pipeline; its defaults are the file's values."""
    block_name, block_class = BLOCK_OF_ASSET[asset]
    block = getattr(spec, block_name)
    fields: dict[str, Any] = {
        name: (
            _launchpad_type(field.annotation),
            Field(getattr(block, name), description=field.description),
        )
        for name, field in block_class.model_fields.items()
    }
    if asset in FORCEABLE:
        fields["force"] = (
            bool,
            Field(False, description="Do the work again although nothing has changed."),
        )
    return create_model(f"{spec.name}_{asset}_config", __base__=dg.Config, **fields)


def _launchpad_type(annotation: Any) -> Any:
    """The type that Dagster's config system has for a parameter.

    It knows no optional enumeration; as an optional text the value is still checked, by
    ``effective_spec``, before anything runs.
    """
    if get_origin(annotation) in (Union, UnionType):
        inner = [part for part in get_args(annotation) if part is not NoneType]
        if any(get_origin(part) is Literal for part in inner):
            return str | None
    return annotation


def op_name(pipeline: str, asset: str) -> str:
    """Dagster's name of the op behind the asset ``[pipeline, asset]``."""
    return f"{pipeline}__{asset}"


def effective_spec(spec: PipelineSpec, run_config: Mapping[str, Any]) -> PipelineSpec:
    """The specification with what one run's config changes.

    Every step calls it first, so that a bad value in any block stops the run at its first step.

    Raises:
        UserError: a value is out of range or values do not agree; the message names the parameter.
    """
    values = spec.model_dump()
    ops: Mapping[str, Any] = run_config.get("ops") or {}
    for asset, (block_name, block_class) in BLOCK_OF_ASSET.items():
        op: Mapping[str, Any] = ops.get(op_name(spec.name, asset)) or {}
        config: Mapping[str, Any] = op.get("config") or {}
        values[block_name].update(
            {name: value for name, value in config.items() if name in block_class.model_fields}
        )
    return changed_spec(values, "this run's config is not valid")


def changed_spec(values: Mapping[str, Any], where: str) -> PipelineSpec:
    """A specification from its values after a person changed some.

    Args:
        values: all values, block by block.
        where: what a refusal begins with.

    Raises:
        UserError: a value is out of range or values do not agree; the message names the parameter.
    """
    try:
        return PipelineSpec.model_validate(values)
    except ValidationError as error:
        messages = [
            f"{'.'.join(str(part) for part in item['loc'])}: "
            f"{item['msg'].removeprefix('Value error, ')}" + shown_value(item["input"])
            for item in error.errors()
        ]
        raise UserError(f"{where}: " + "; ".join(messages)) from error
