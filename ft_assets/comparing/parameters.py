"""Which parameters changed, of every block of the pipeline file that was recorded.

An artifact records the block that its asset read. Blocks that no artifact records (pods, the
schedule) say nothing of what a model is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined, to_jsonable_python

from ft_assets.comparing.behind import MODEL, RAW, REGISTRATION, REPORT, SPLIT
from ft_assets.config.dataset import SourceConfig, SplitConfig
from ft_assets.config.evaluation import EvaluationConfig
from ft_assets.config.promotion import PromotionConfig
from ft_assets.config.registry import RegistryConfig
from ft_assets.config.training import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ft_assets.comparing.behind import Behind
    from ft_assets.config.block import Block

PARTS: tuple[tuple[str, str, type[Block]], ...] = (
    ("training", MODEL, TrainingConfig),
    ("dataset", RAW, SourceConfig),
    ("dataset", SPLIT, SplitConfig),
    ("evaluation", REPORT, EvaluationConfig),
    ("promotion", REPORT, PromotionConfig),
    ("registry", REGISTRATION, RegistryConfig),
)
"""Block, the asset that records it, and the part of the block that the asset goes by."""

_GROUPS = ("promotion",)
"""Blocks that are recorded inside of another one."""
_NOT_RECORDED = object()


@dataclass(frozen=True)
class ParameterChange:
    """A parameter that has another value."""

    parameter: str
    """``BLOCK.PARAMETER``."""
    old: Any
    new: Any
    default: Any
    """Today's; None for a parameter without one."""
    note: str
    """Where a value stands for one that was not recorded."""


def parameter_changes(old: Behind, new: Behind) -> list[ParameterChange]:
    """The parameters that differ, block by block; those that a lost artifact recorded left out."""
    found: list[ParameterChange] = []
    for block, asset, part in PARTS:
        configs = [_config(one, asset, block) for one in (old, new)]
        if configs[0] is not None and configs[1] is not None:
            found += _compare(block, part, configs[0], configs[1])
    return found


def _config(one: Behind, asset: str, block: str) -> Mapping[str, Any] | None:
    """A block as it was recorded; None where it was not, or is lost."""
    making = one.making(asset)
    if making is None:
        return None
    if block in _GROUPS:
        return making.config.get(block)
    return {name: value for name, value in making.config.items() if name not in _GROUPS}


def _compare(
    block: str, part: type[Block], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[ParameterChange]:
    for name in _names(part, old, new):
        default = _default(part, name)
        values = [config.get(name, _NOT_RECORDED) for config in (old, new)]
        note = ""
        if _NOT_RECORDED in values:
            which = "before" if values[0] is _NOT_RECORDED else "now"
            note = f"{which}: not recorded, the default"
            if default is _NOT_RECORDED:
                note, default = f"{which}: there is no such parameter", None
            values = [default if value is _NOT_RECORDED else value for value in values]
        if values[0] != values[1]:
            shown = None if default is _NOT_RECORDED else default
            yield ParameterChange(f"{block}.{name}", values[0], values[1], shown, note)


def _names(part: type[Block], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The part's own parameters, then those that only another release knows.

    ``raw_dataset`` and ``split_dataset`` both record the whole of their block: each counts for the
    part that it goes by, and the second for what neither knows.
    """
    own = list(part.model_fields)
    if part is SourceConfig:
        return own
    known = {*own, *(SourceConfig.model_fields if part is SplitConfig else ())}
    return [*own, *(name for name in {**old, **new} if name not in known)]


def _default(part: type[Block], name: str) -> Any:
    """The default of today as JSON has it; ``_NOT_RECORDED`` where there is none."""
    field = part.model_fields.get(name)
    if field is None or field.is_required():
        return _NOT_RECORDED
    default = field.get_default(call_default_factory=True, validated_data={})
    return _NOT_RECORDED if default is PydanticUndefined else to_jsonable_python(default)
