"""Write docs/parameters.md: every parameter of a pipeline file, from the models that check it.

``python scripts/parameters_table.py`` reads names, types, limits, defaults and descriptions from
``ft_assets/config``, and the names that the Kubeflow pipelines have for the same things.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ft_assets.config import PipelineSpec
from ft_assets.config.block import Block

TARGET = Path(__file__).parent.parent / "docs" / "parameters.md"

HEAD = """\
<!-- Made by scripts/parameters_table.py from ft_assets/config; do not edit. -->
# Parameters of a pipeline file

A pipeline file is a map of the blocks below. Only `dataset.uri` is required. A key that is not in
these tables is an error: nothing is ignored. [Add a pipeline](add-a-pipeline.md) shows how to use
them.

The last column has the names of the same parameter in the Kubeflow pipelines and components that
ft-assets replaces. They are accepted in place of ours, in the same block.
"""

_TYPES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "map",
    list: "list",
}
_LIMITS = {"ge": "from", "gt": "above", "le": "up to", "lt": "below"}


def markdown() -> str:
    """The whole page."""
    blocks = {
        name: field.annotation
        for name, field in PipelineSpec.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Block)
    }
    sections = [_section("top level", PipelineSpec)]
    sections += [_section(name, block) for name, block in blocks.items()]
    return "\n".join([HEAD, *sections])


def _section(name: str, block: type[Block]) -> str:
    title = name if name == "top level" else f"`{name}`"
    lines = [
        f"## {title}",
        "",
        (block.__doc__ or "").split("\n", maxsplit=1)[0],
        "",
        "| parameter | value | default | what it does | in the Kubeflow pipelines |",
        "| --- | --- | --- | --- | --- |",
        *_rows(block),
        "",
    ]
    if block.not_taken:
        lines += ["Not taken:", ""]
        lines += [f"- `{seed}`: {why}." for seed, why in block.not_taken.items()]
        lines.append("")
    return "\n".join(lines)


def _rows(block: type[Block]) -> Iterator[str]:
    seeds = block.seed_names()
    required_first = sorted(block.model_fields.items(), key=lambda item: not item[1].is_required())
    for name, field in required_first:
        if isinstance(field.annotation, type) and issubclass(field.annotation, Block):
            continue  # a block of its own
        cells = [
            f"`{name}`",
            _value(field),
            _default(name, field),
            field.description or "",
            ", ".join(f"`{seed}`" for seed, ours in seeds.items() if ours == name),
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(field: FieldInfo) -> str:
    limits = [
        f"{word} {getattr(limit, kind):g}"
        if abs(getattr(limit, kind)) < 1e6
        else f"{word} {getattr(limit, kind)}"
        for limit in field.metadata
        for kind, word in _LIMITS.items()
        if getattr(limit, kind, None) is not None
    ]
    return ", ".join([_type(field.annotation), *limits])


def _type(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType):
        inner = [part for part in get_args(annotation) if part is not NoneType]
        return f"{' or '.join(map(_type, inner))}, or not set"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{json.dumps(v) if v == '' else v}`" for v in get_args(annotation))
    return _TYPES[get_origin(annotation) or annotation]


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "the file's name" if name == "name" else "**required**"
    return "not set" if field.default is None else f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    TARGET.write_text(markdown(), encoding="utf-8")
    print(TARGET)
