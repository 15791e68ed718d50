"""What the words of a command line stand for: a pipeline, a drop, parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import yaml

from ft_assets.config import Pipeline, find_recipes
from ft_assets.config.launchpad import BLOCK_OF_ASSET, GROUP_OF_ASSET
from resources.errors import UserError

if TYPE_CHECKING:
    from dagster import DagsterInstance


def what_is_made(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that runs a pipeline: which assets, how, and whether again."""
    options = (
        click.option("--select", default="", help="Assets to make, by name, with commas between."),
        click.option(
            "--set", "settings", multiple=True, help="A parameter for this run: training.seed=2."
        ),
        click.option(
            "--recipe", "recipes", multiple=True, help="A recipe, or default; all when not given."
        ),
        click.option(
            "--force", is_flag=True, help="Train and evaluate again although nothing changed."
        ),
    )
    for option in reversed(options):  # as decorators that stand one below the other
        function = option(function)
    return function


def names(words: str | None) -> list[str]:
    """The names in ``a,b,c``, each once."""
    return list(dict.fromkeys(name.strip() for name in (words or "").split(",") if name.strip()))


def instance_here() -> DagsterInstance:
    """Dagster's instance, opened without a word of its logs.

    Raises:
        UserError: it cannot be opened.
    """
    from ft_assets.running import open_instance

    return open_instance()


def drop_of(pipeline: Pipeline, partition: str | None, instance: DagsterInstance) -> str | None:
    """The data drop that is meant: the newest one where none is named.

    Raises:
        UserError: the pipeline has no drops, or none yet.
    """
    from ft_assets.automation.partitions import newest_drop
    from ft_assets.code_location import default_resources

    if pipeline.spec.partitioned and partition is None:
        return newest_drop(pipeline, default_resources()["sources"], instance)
    if partition is not None:
        refuse_drops_of_none(pipeline, f"--partition {partition}", "leave the option out")
    return partition


def refuse_drops_of_none(pipeline: Pipeline, asked: str, remedy: str) -> None:
    """Refuse drops of a pipeline whose data does not come in drops.

    Raises:
        UserError: it does not.
    """
    if not pipeline.spec.partitioned:
        raise UserError(
            f"{asked}: the pipeline {pipeline.spec.name} has no drops (its dataset.uri holds no "
            f"{{partition}}): {remedy}"
        )


def pipeline_named(name: str, *, recipes: bool = False) -> Pipeline:
    """The pipeline of a name; with ``recipes`` that of ``PIPELINE/RECIPE`` too.

    Raises:
        UserError: there is none.
    """
    pipelines = find_recipes()
    if not recipes:
        pipelines = {one: pipeline for one, pipeline in pipelines.items() if "/" not in one}
    if name not in pipelines:
        raise UserError(f"there is no pipeline {name!r}: there are {', '.join(sorted(pipelines))}")
    return pipelines[name]


def parse_settings(settings: Sequence[str]) -> Mapping[str, Any]:
    """What ``--set BLOCK.PARAMETER=VALUE`` says, by ``BLOCK.PARAMETER``.

    Raises:
        UserError: an option is not written so.
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: write BLOCK.PARAMETER=VALUE")
        try:
            parsed[name.strip()] = _value(name.strip(), value)
        except yaml.YAMLError as error:
            raise UserError(
                f"--set {setting}: the value is no valid YAML: put it between quotes"
            ) from error
    return parsed


def _value(setting: str, text: str) -> Any:
    """A value as YAML reads it; 1e-4 as the number that YAML takes for text, 1.0 as the text that
    a version is."""
    value = yaml.safe_load(text)
    if _takes_text(setting) and not isinstance(value, str | None):
        return text
    if isinstance(value, str) and not _takes_text(setting):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _takes_text(setting: str) -> bool:
    """Whether the parameter ``BLOCK.PARAMETER`` is a text."""
    block, _, parameter = setting.partition(".")
    annotations: list[Any] = [
        part.model_fields[parameter].annotation
        for owner, part in (*BLOCK_OF_ASSET.values(), *GROUP_OF_ASSET.values())
        if owner == block and parameter in part.model_fields
    ]
    return any(annotation in (str, str | None) for annotation in annotations)
