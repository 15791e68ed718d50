"""Blocks as Dagster run config: what the launchpad shows, and what a run changes.

Every value of the pipeline file is the default of a field, so that a run from the UI, a backfill
or a schedule needs no config, and a person can change one value for one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ft_assets.config.block import Block
from ft_assets.config.dataset import SourceConfig, SplitConfig
from ft_assets.config.evaluation import EvaluationConfig
from ft_assets.config.kubernetes import OTHER_STEPS, TRAINING, StepPodConfig, TrainingPodConfig
from ft_assets.config.pipeline import PipelineSpec
from ft_assets.config.promotion import PromotionConfig
from ft_assets.config.registry import RegistryConfig
from ft_assets.config.secret import SECRET, shown_value
from ft_assets.config.training import TrainingConfig
from resources.errors import UserError

# Which block of the pipeline file each asset reads, and the class of the part that it shows.
BLOCK_OF_ASSET: dict[str, tuple[str, type[Block]]] = {
    "raw_dataset": ("dataset", SourceConfig),
    "split_dataset": ("dataset", SplitConfig),
    "token_report": ("training", Block),  # shown where it is set: at finetuned_model
    "baseline_report": ("evaluation", Block),  # shown at eval_report
    "finetuned_model": ("training", TrainingConfig),
    "eval_report": ("evaluation", EvaluationConfig),
    "registered_version": ("registry", RegistryConfig),
    "leaderboard": ("promotion", Block),
}

JOB_ASSETS = tuple(asset for asset in BLOCK_OF_ASSET if asset != "leaderboard")
"""What a run of the pipeline makes; the leaderboard comes after runs, whatever became of them."""

# A second block that an asset reads: the launchpad shows it as a group of the block's name.
GROUP_OF_ASSET: dict[str, tuple[str, type[Block]]] = {
    "eval_report": ("promotion", PromotionConfig),
    TRAINING: ("kubernetes", TrainingPodConfig),
}

POD = "kubernetes"
"""The group of every asset's config with its pod; in the file, another step's is
``kubernetes.steps.ASSET``. A pod says where a step runs and nothing of what it makes, so that it is
no part of ``config_of``."""

# Assets whose work costs enough to be skipped when nothing changed.
FORCEABLE = ("baseline_report", "finetuned_model", "eval_report")


@dataclass(frozen=True)
class Place:
    """Where a parameter of the pipeline file stands in a run's config."""

    asset: str
    group: str | None
    """The group of the asset's config that it is in; None at the top."""
    name: str | None = None
    """Its name there, where it is another."""

    def put(self, config: dict[str, Any], parameter: str, value: Any) -> None:
        """Set the parameter in the config of the asset's op."""
        fields = config if self.group is None else config.setdefault(self.group, {})
        fields[self.name or parameter] = value


def place_of(block: str, parameter: str) -> Place | None:
    """Which asset's config a parameter of a block stands in; None when there is no such one."""
    for table, grouped in ((BLOCK_OF_ASSET, False), (GROUP_OF_ASSET, True)):
        for asset, (owner, part) in table.items():
            if owner == block and parameter in part.model_fields:
                return Place(asset, block if grouped else None)
    if block == POD:
        return _place_in_a_step(parameter)
    return None


def _place_in_a_step(parameter: str) -> Place | None:
    """The place of ``steps.ASSET.NAME``: in the pod of the asset's own config."""
    steps, _, rest = parameter.partition(".")
    asset, _, name = rest.partition(".")
    if steps != "steps" or asset not in OTHER_STEPS or name not in StepPodConfig.model_fields:
        return None
    return Place(asset, POD, name)


def shown_blocks() -> dict[str, set[str]]:
    """The parameters that a run can change, by block."""
    blocks: dict[str, set[str]] = {}
    for owner, part in (*BLOCK_OF_ASSET.values(), *GROUP_OF_ASSET.values()):
        blocks.setdefault(owner, set()).update(part.model_fields)
    return blocks


def config_of(spec: PipelineSpec, asset: str) -> dict[str, Any]:
    """What an asset reads of the specification, as JSON: its block, and its group by name."""
    config: dict[str, Any] = getattr(spec, BLOCK_OF_ASSET[asset][0]).model_dump(mode="json")
    group = GROUP_OF_ASSET.get(asset)
    if group is not None and group[0] != POD:
        config[group[0]] = getattr(spec, group[0]).model_dump(mode="json")
    return config


class _Form(dg.Config):
    """What a form derives from. Only Dagster reads its fields, so none is made to check a value."""

    model_config = ConfigDict(defer_build=True)


def run_config_class(spec: PipelineSpec, asset: str) -> type[dg.Config]:
    """The Dagster ``Config`` of one asset of one pipeline; its defaults are the file's values."""
    block_name, block_class = BLOCK_OF_ASSET[asset]
    fields = _fields(getattr(spec, block_name), block_class)
    if asset in GROUP_OF_ASSET:
        group, group_class = GROUP_OF_ASSET[asset]
        shown = create_model(
            f"{spec.op(asset)}_{group}_config",
            __base__=_Form,
            **_fields(getattr(spec, group), group_class),
        )
        fields[group] = (shown, Field(default_factory=shown, description=group_class.__doc__))
    if asset in OTHER_STEPS:
        fields[POD] = (dict[str, Any], Field(_own_pod(spec, asset), description=_POD_DESCRIPTION))
    if asset in FORCEABLE:
        fields["force"] = (
            bool,
            Field(False, description="Do the work again although nothing has changed."),
        )
    return create_model(f"{spec.op(asset)}_config", __base__=_Form, **fields)


def run_config_defaults(spec: PipelineSpec, asset: str) -> dict[str, Any]:
    """The values of ``run_config_class``, when a run changes none."""
    block_name, block_class = BLOCK_OF_ASSET[asset]
    values = _shown(getattr(spec, block_name), block_class)
    if asset in GROUP_OF_ASSET:
        group, group_class = GROUP_OF_ASSET[asset]
        values[group] = _shown(getattr(spec, group), group_class)
    if asset in OTHER_STEPS:
        values[POD] = _own_pod(spec, asset)
    if asset in FORCEABLE:
        values["force"] = False
    return values


def _shown(block: Block, block_class: type[Block]) -> dict[str, Any]:
    values = block.model_dump()
    return {name: values[name] for name in block_class.model_fields}


_POD_DESCRIPTION = (
    "The step's pod on Kubernetes: image, cpu, memory, gpus, env, node_selector, tolerations and "
    "the other parameters of kubernetes.steps."
)


def _own_pod(spec: PipelineSpec, asset: str) -> dict[str, Any]:
    """What the file says of the pod of a step that is not the training."""
    step = spec.kubernetes.steps.get(asset)
    return step.model_dump() if step else {}


def _fields(block: Block, block_class: type[Block]) -> dict[str, Any]:
    values = block.model_dump()
    return {
        name: (
            _launchpad_type(field.annotation),
            Field(values[name], description=field.description),
        )
        for name, field in block_class.model_fields.items()
    }


def _launchpad_type(annotation: Any) -> Any:
    """The type that Dagster's config system has for a parameter.

    It knows no optional enumeration, and no mapping of blocks or of several types; as an optional
    text and as a mapping of anything the value is still checked, by ``effective_spec``, before
    anything runs.
    """
    if get_origin(annotation) is dict and any(
        _is_model(part) or get_origin(part) in (Union, UnionType) for part in get_args(annotation)
    ):
        return dict[str, Any]
    if get_origin(annotation) in (Union, UnionType):
        inner = [part for part in get_args(annotation) if part is not NoneType]
        if any(get_origin(part) is Literal for part in inner):
            return str | None
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def effective_spec(spec: PipelineSpec, run_config: Mapping[str, Any]) -> PipelineSpec:
    """The specification with what one run's config changes.

    Every step calls it first, so that a bad value in any block stops the run at its first step.

    Raises:
        UserError: a value is out of range or values do not agree; the message names the parameter.
    """
    values = spec.model_dump()
    ops: Mapping[str, Any] = run_config.get("ops") or {}
    for asset, (block_name, block_class) in BLOCK_OF_ASSET.items():
        op: Mapping[str, Any] = ops.get(spec.op(asset)) or {}
        config: Mapping[str, Any] = op.get("config") or {}
        values[block_name].update(
            {name: value for name, value in config.items() if name in block_class.model_fields}
        )
        if asset in GROUP_OF_ASSET:
            group, _ = GROUP_OF_ASSET[asset]
            values[group].update(config.get(group) or {})
        if asset in OTHER_STEPS and config.get(POD):
            values[POD]["steps"].setdefault(asset, {}).update(config[POD])
    effective = changed_spec(values, "this run's config is not valid")
    return effective.of_recipe(spec.recipe)


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
            _where(item["loc"])
            + item["msg"].removeprefix("Value error, ")
            + ("" if item["type"] == SECRET else shown_value(item["input"]))
            for item in error.errors()
        ]
        raise UserError(f"{where}: " + "; ".join(messages)) from error


def _where(place: tuple[int | str, ...]) -> str:
    """The parameter in front of its message; nothing where the message names it."""
    return f"{'.'.join(str(part) for part in place)}: " if place else ""
