"""The commands, one function each."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ft_assets.cli.asked import (
    drop_of,
    instance_here,
    names,
    parse_settings,
    pipeline_named,
    what_is_made,
)
from ft_assets.cli.output import Commands, command, fail, json_option, show, stdout_is_for_results
from ft_assets.config import Pipeline, find_pipelines
from ft_assets.config.advice import advice
from ft_assets.warm_workers import start_warm_workers
from resources.home import shipped

if TYPE_CHECKING:
    from rich.console import Console

DEMO = "demo"
DEMO_DROP = "drop-1"


@click.group(
    cls=Commands,
    later={
        "backfill": "ft_assets.cli.backfill:backfill",
        "court": "ft_assets.cli.court:court",
        "diff": "ft_assets.cli.diff:diff",
        "export": "ft_assets.cli.export:export",
        "leaderboard": "ft_assets.cli.leaderboard:leaderboard",
        "list": "ft_assets.cli.listing:list_pipelines",
        "registry": "ft_assets.cli.registry_group:registry",
        "status": "ft_assets.cli.status:status",
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
    from ft_assets.code_location import build_defs

    build_defs().resolve_all_job_defs()  # what only the whole can get wrong
    names = [pipeline.spec.name for pipeline in pipelines]
    advised = {one.spec.name: said for one in pipelines if (said := advice(one.spec))}

    def text(console: Console) -> None:
        console.print(f"{len(names)} pipelines are valid: {', '.join(names)}")
        for name, sentences in advised.items():
            for sentence in sentences:
                console.print(f"{name}: {sentence}.", soft_wrap=True)

    show({"valid": names, "advice": advised}, text, as_json=as_json)


@main.command()
@click.argument("pipeline")
@click.option(
    "--partition", help="The data drop, or several: a,b,c; the newest one when not given."
)
@what_is_made
@json_option
@command
def run(
    *,
    pipeline: str,
    partition: str | None,
    select: str,
    settings: tuple[str, ...],
    recipes: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Run a pipeline: make its assets, through Dagster."""
    _run(
        pipeline_named(pipeline),
        partition=partition,
        select=select,
        settings=settings,
        recipes=recipes,
        force=force,
        as_json=as_json,
    )


@main.command()
@click.option("--force", is_flag=True, help="Train and evaluate again although nothing changed.")
@json_option
@command
def demo(*, force: bool, as_json: bool) -> None:
    """Fine-tune a small model on this machine, from the data to the registry."""
    _run(
        pipeline_named(DEMO),
        partition=DEMO_DROP,
        select="",
        settings=(),
        force=force,
        as_json=as_json,
    )


def _run(
    pipeline: Pipeline,
    *,
    partition: str | None,
    select: str,
    settings: tuple[str, ...],
    force: bool,
    as_json: bool,
    recipes: tuple[str, ...] = (),
) -> None:
    from ft_assets.cli.bars import bars
    from ft_assets.cli.report import report_of, report_text
    from ft_assets.running import RunRequest
    from ft_assets.running import run as run_pipeline

    request = RunRequest(
        pipeline=pipeline,
        partition=partition,
        select=names(select),
        settings=parse_settings(settings),
        force=force,
        recipes=recipes,
    )
    if "," in (partition or ""):
        from ft_assets.cli.backfill import run_drops

        run_drops(request, names(partition), as_json=as_json)
        return
    with stdout_is_for_results(), instance_here() as instance:
        request = replace(request, partition=drop_of(pipeline, partition, instance))
        with bars():
            outcome = run_pipeline(instance, request)
        result = report_of(request, outcome)
    if not outcome.success:
        fail("\n".join(outcome.failures) or "the run failed", as_json=as_json, **result)
    show(result, lambda console: report_text(console, result), as_json=as_json)


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

    chosen = pipeline_named(pipeline, recipes=True)
    with stdout_is_for_results(), instance_here() as instance:
        partition = drop_of(chosen, partition, instance)
    plan(chosen, partition, parse_settings(settings), as_json=as_json)


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

    chosen = pipeline_named(pipeline, recipes=True)
    with stdout_is_for_results(), instance_here() as instance:
        partition = drop_of(chosen, partition, instance)
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
    # Not `dg dev`, which asks the webserver for its options before it starts it.
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
    start_warm_workers()
    program = os.path.join(os.path.dirname(sys.executable), arguments[0])  # noqa: PTH118, PTH120
    os.execv(program, arguments)  # noqa: S606
