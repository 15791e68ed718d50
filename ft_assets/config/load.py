"""Reading pipeline files: where they lie, and errors that point at the line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from ft_assets.config.block import Block
from ft_assets.config.pipeline import Pipeline, PipelineSpec
from ft_assets.config.secret import SECRET, holds_secret, shown_value
from resources.errors import UserError

_BLOCKS: dict[str, type[Block]] = {
    "": PipelineSpec,
    **{
        name: field.annotation
        for name, field in PipelineSpec.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Block)
    },
}
_PARAMETER_OF_SEED = {
    seed: name for block in _BLOCKS.values() for seed, name in block.seed_names().items()
}
_PARAMETERS = frozenset(
    name for block in _BLOCKS.values() for name in (*block.model_fields, *block.seed_names())
)
_PLAIN = 8_000  # characters; libyaml follows brackets in brackets until the process crashes
BUILT_IN = Path(__file__).parent.parent / "pipelines"


def find_pipelines() -> list[Pipeline]:
    """All pipelines: the package's own, then those in the folders of ``FT_PIPELINES``.

    A pipeline of the same name in a later folder takes the place of an earlier one, so that a
    team can bring its own ``sft.yaml``.
    """
    found: dict[str, Pipeline] = {}
    for folder in dict.fromkeys(_folders()):
        for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            pipeline = load_pipeline(file)
            earlier = found.get(pipeline.spec.name)
            if earlier is not None and earlier.file.parent == file.parent:
                raise UserError(
                    f"{file} and {earlier.file} both name the pipeline {pipeline.spec.name!r}: "
                    "rename one of them"
                )
            found[pipeline.spec.name] = pipeline
    return list(found.values())


def find_recipes() -> dict[str, Pipeline]:
    """All pipelines and the pipelines of their recipes, as ``PIPELINE`` and ``PIPELINE/RECIPE``."""
    found = find_pipelines()
    return {one.label: one for pipeline in found for one in (pipeline, *pipeline.recipes())}


def _folders() -> Iterator[Path]:
    yield BUILT_IN
    for entry in os.environ.get("FT_PIPELINES", "").split(os.pathsep):
        if entry:
            folder = Path(entry).expanduser()
            if not folder.is_dir():
                raise UserError(f"FT_PIPELINES names {entry!r}, which is not a folder")
            yield folder.absolute()


def load_pipeline(file: Path) -> Pipeline:
    """Read one pipeline file. The name defaults to the file's own.

    Raises:
        UserError: the file cannot be read, is no YAML, or says something that no pipeline takes;
            the message names the file, the line and the column, and shows the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from error
    node = _compose(file, text)
    values = _plain(file, text, node)
    values.setdefault("name", file.stem)
    try:
        spec = PipelineSpec.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(file, text, node, error)) from error
    return Pipeline(spec=spec, file=file)


def _compose(file: Path, text: str) -> yaml.MappingNode:
    try:
        node = _composed(text)
    except yaml.YAMLError as error:
        raise _not_yaml(file, text, error) from None  # its text shows the line
    except RecursionError:
        raise UserError(f"{file}: is nested too deeply: a pipeline has a few levels") from None
    if not isinstance(node, yaml.MappingNode):
        mark = node.start_mark if node else None
        raise UserError(_pointer(file, text, mark, "is not a map of blocks (dataset, ...)"))
    return node


def _composed(text: str) -> yaml.Node | None:
    """By libyaml, which is quicker, where it is there and the text is in order.

    What is wrong, PyYAML's own parser says more clearly, and it has the last word: also on tabs and
    byte order marks, of which libyaml takes more.
    """
    plain = len(text) <= _PLAIN and "\t" not in text and "\ufeff" not in text
    quick: type[yaml.SafeLoader] = (plain and getattr(yaml, "CSafeLoader", None)) or yaml.SafeLoader
    try:
        return yaml.compose(text, Loader=quick)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)


def _not_yaml(file: Path, text: str, error: yaml.YAMLError) -> UserError:
    mark: yaml.Mark | None = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error)
    return UserError(_pointer(file, text, mark, f"is no valid YAML: {problem}"))


def _plain(file: Path, text: str, node: yaml.MappingNode) -> dict[str, Any]:
    """The values of a composed document; a key that stands twice is an error, not a choice."""
    stack: list[yaml.Node] = [node]
    visited: set[int] = set()  # an alias leads to the same node again, perhaps in a circle
    while stack:
        current = stack.pop()
        if id(current) in visited:
            continue
        visited.add(id(current))
        if isinstance(current, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in current.value:
                if str(key.value) in seen:
                    message = f"the key {key.value!r} stands here twice: keep one of them"
                    raise UserError(_pointer(file, text, key.start_mark, message))
                seen.add(str(key.value))
                stack.append(value)
        elif isinstance(current, yaml.SequenceNode):
            stack.extend(current.value)
    try:
        return cast("dict[str, Any]", cast("Any", yaml.SafeLoader("")).construct_document(node))
    except yaml.YAMLError as error:
        raise _not_yaml(file, text, error) from None  # its text shows the line
    except ValueError as error:  # such as a date with a thirteenth month
        raise UserError(f"{file}: is no valid YAML: {error}") from error


def _explain(file: Path, text: str, node: yaml.Node, error: ValidationError) -> str:
    """The first error of each place, with the line it stands on."""
    messages: list[str] = []
    for item in error.errors():
        path = list(item["loc"])
        found, key_mark = _locate(node, path)
        name = ".".join(str(part) for part in path)
        if item["type"] == "extra_forbidden":
            mark = key_mark
            message = f"{name}: {_why_not_taken(path)}"
        elif item["type"] == "missing":
            mark, message = key_mark, f"{name} is required"
        else:
            mark = found.start_mark if found is not None else key_mark
            said = item["msg"].removeprefix("Value error, ")
            shown = "" if item["type"] == SECRET else shown_value(item["input"])
            separator = " " if said.startswith("is ") else ": "
            message = f"{name}{separator if name else ''}{said}{shown}"
        shows_line = item["type"] != SECRET
        messages.append(_pointer(file, text, mark, message, shows_line=shows_line))
    return "\n".join(dict.fromkeys(messages))


def _locate(node: yaml.Node, path: list[str | int]) -> tuple[yaml.Node | None, yaml.Mark | None]:
    """The node at ``path`` and the mark of the last key on the way to it."""
    current: yaml.Node | None = node
    mark: yaml.Mark | None = node.start_mark
    for part in path:
        step: yaml.Node | None = None
        if isinstance(current, yaml.MappingNode):
            for key, value in current.value:
                if str(part) in (key.value, _PARAMETER_OF_SEED.get(str(key.value))):
                    step, mark = value, key.start_mark
        elif isinstance(current, yaml.SequenceNode) and isinstance(part, int):
            step = current.value[part] if part < len(current.value) else None
            mark = step.start_mark if step is not None else mark
        current = step
        if current is None:
            break
    return current, mark


def _why_not_taken(path: list[str | int]) -> str:
    """What to say about a key that no block has: the reason, or the name that was meant."""
    *above, key = map(str, path)
    block = _BLOCKS.get(".".join(above))
    if block is None:
        return "there is no such parameter"
    if key in block.not_taken:
        return block.not_taken[key]
    guess = block.closest_name(key)
    return "there is no such parameter" + (f"; did you mean {guess}?" if guess else "")


def _pointer(
    file: Path, text: str, mark: yaml.Mark | None, message: str, *, shows_line: bool = True
) -> str:
    """``file:line:column: message`` with the line and a caret under the place.

    Without the line where it shows a secret, or may do so.
    """
    if mark is None:
        return f"{file}: {message}"
    place = f"{file}:{mark.line + 1}:{mark.column + 1}: {message}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if not shows_line or holds_secret(line, _PARAMETERS):
        return place
    return f"{place}\n  {line}\n  {' ' * mark.column}^"
