"""The commands, one function each."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from ft_assets.cli.output import Commands, command, fail, json_option, show, stdout_is_for_results
from ft_assets.config import Pipeline, find_pipelines
from ft_assets.config.launchpad import BLOCK_OF_ASSET, GROUP_OF_ASSET
from resources.errors import UserError
from resources.home import CHECKOUT, shipped

if TYPE_CHECKING:
    from dagster import DagsterInstance

DEMO = "demo"
DEMO_DROP = "drop-1"


@click.group(
    cls=Commands,
    later={
        "court": "ft_assets.cli.court:court",
        "export": "ft_assets.cli.export:export",
        "list": "ft_assets.cli.listing:list_pipelines",
        "registry": "ft_assets.cli.registry_group:registry",
        "verify": "ft_assets.cli.verify:verify",
    },
)
@click.version_option(package_name="ft-assets")
def main() -> None:
    """Fine-tune language models as Dagster assets."""


@main.command()
@json_option
@command
def check(*, as_json: bool) -> None:
    """Validate every pipeline without running one."""
    pipelines = find_pipelines()
    from ft_assets.definitions import build_defs

    build_defs().resolve_all_job_defs()  # what only the whole can get wrong
    names = [pipeline.spec.name for pipeline in pipelines]
    show(
        {"valid": names},
        lambda console: console.print(f"{len(names)} pipelines are valid: {', '.join(names)}"),
        as_json=as_json,
    )


@main.command()
@click.argument("pipeline")
@click.option("--partition", help="The data drop; the newest one when not given.")
@click.option("--select", default="", help="Assets to make, by name, with commas between.")
@click.option(
    "--set", "settings", multiple=True, help="A parameter for this run: training.num_epochs=2."
)
@click.option("--force", is_flag=True, help="Train and evaluate again although nothing changed.")
@json_option
@command
def run(
    *,
    pipeline: str,
    partition: str | None,
    select: str,
    settings: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Run a pipeline: make its assets, through Dagster."""
    _run(
        _pipeline(pipeline),
        partition=partition,
        select=select,
        settings=settings,
        force=force,
        as_json=as_json,
    )


@main.command()
@click.option("--force", is_flag=True, help="Train and evaluate again although nothing changed.")
@json_option
@command
def demo(*, force: bool, as_json: bool) -> None:
    """Fine-tune a small model on this machine, from the data to the registry."""
    _run(_pipeline(DEMO), partition=DEMO_DROP, select="", settings=(), force=force, as_json=as_json)


def _run(
    pipeline: Pipeline,
    *,
    partition: str | None,
    select: str,
    settings: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    from ft_assets.cli.bars import bars
    from ft_assets.cli.report import report_of, report_text
    from ft_assets.running import RunRequest
    from ft_assets.running import run as run_pipeline

    with stdout_is_for_results(), _instance() as instance:
        request = RunRequest(
            pipeline=pipeline,
            partition=_drop(pipeline, partition, instance),
            select=[name.strip() for name in select.split(",") if name.strip()],
            settings=_parse_settings(settings),
            force=force,
        )
        with bars():
            outcome = run_pipeline(instance, request)
        result = report_of(request, outcome)
    if not outcome.success:
        fail("\n".join(outcome.failures) or "the run failed", as_json=as_json, **result)
    show(result, lambda console: report_text(console, result), as_json=as_json)


def _instance() -> DagsterInstance:
    from ft_assets.running import open_instance

    return open_instance()


def _drop(pipeline: Pipeline, partition: str | None, instance: DagsterInstance) -> str | None:
    """The data drop that is meant: the newest one where none is named."""
    from ft_assets.automation.partitions import newest_drop
    from ft_assets.definitions import default_resources

    if pipeline.spec.partitioned and partition is None:
        return newest_drop(pipeline, default_resources()["sources"], instance)
    if partition is not None and not pipeline.spec.partitioned:
        raise UserError(
            f"--partition {partition}: the pipeline {pipeline.spec.name} has no drops (its "
            "dataset.uri holds no {partition}): leave the option out"
        )
    return partition


def _pipeline(name: str) -> Pipeline:
    pipelines = {pipeline.spec.name: pipeline for pipeline in find_pipelines()}
    if name not in pipelines:
        raise UserError(f"there is no pipeline {name!r}: there are {', '.join(sorted(pipelines))}")
    return pipelines[name]


def _parse_settings(settings: tuple[str, ...]) -> Mapping[str, Any]:
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


@main.command("plan")
@click.argument("pipeline")
@click.option("--partition", help="The data drop; the newest one when not given.")
@click.option(
    "--set", "settings", multiple=True, help="A parameter for this plan: training.num_epochs=2."
)
@json_option
@command
def plan_run(
    *, pipeline: str, partition: str | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Show what a run needs: memory, time, cost and pod. Starts nothing, needs no GPU."""
    from ft_assets.cli.plan import plan

    chosen = _pipeline(pipeline)
    with stdout_is_for_results(), _instance() as instance:
        partition = _drop(chosen, partition, instance)
    plan(chosen, partition, _parse_settings(settings), as_json=as_json)


@main.group()
def data() -> None:
    """Look at the rows as the model will see them."""


@data.command("preview")
@click.argument("pipeline")
@click.option("--partition", help="The data drop; the newest one when not given.")
@click.option("--row", default=1, show_default=True, help="Training row, counted from 1.")
@json_option
@command
def data_preview(*, pipeline: str, partition: str | None, row: int, as_json: bool) -> None:
    """Show a training row as tokens, those that are trained on in green."""
    from ft_assets.cli.data import preview

    chosen = _pipeline(pipeline)
    with stdout_is_for_results(), _instance() as instance:
        partition = _drop(chosen, partition, instance)
    preview(chosen, partition, row, as_json=as_json)


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@command
def profile(*, path: Path, as_json: bool) -> None:
    """Show where time and memory went: PATH is an artifact, a run folder or a trace."""
    from ft_assets.cli.profile import show_profile

    show_profile(path, as_json=as_json)


@main.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address it listens on.")
@json_option
@command
def ui(*, port: int, host: str, as_json: bool) -> None:
    """Open Dagster's UI and daemon on this instance, until interrupted."""
    if (CHECKOUT / "pyproject.toml").exists():
        arguments = ["dg", "dev"]
        os.chdir(CHECKOUT)
    else:  # installed from a wheel: there is no project for dg to find
        arguments = ["dagster", "dev", "--workspace", str(shipped("workspace.yaml"))]
    arguments += ["--port", str(port), "--host", host]
    result = {"url": f"http://{host}:{port}", "dagster_home": os.environ["DAGSTER_HOME"]}
    show(
        result,
        lambda console: console.print(f"Dagster's UI opens at {result['url']}"),
        as_json=as_json,
    )
    sys.stdout.flush()
    os.dup2(2, 1)
    program = os.path.join(os.path.dirname(sys.executable), arguments[0])  # noqa: PTH118, PTH120
    os.execv(program, arguments)  # noqa: S606
