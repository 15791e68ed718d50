"""``ft backfill``, and ``ft run`` on several drops: which ones, and what became of each.

Does not belong here: how they are run (``ft_assets/backfilling.py``).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ft_assets.cli.asked import (
    instance_here,
    names,
    parse_settings,
    pipeline_named,
    refuse_drops_of_none,
    what_is_made,
)
from ft_assets.cli.output import command, fail, json_option, show, stderr, stdout_is_for_results
from resources.errors import UserError

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from ft_assets.backfilling import DropOutcome
    from ft_assets.config import Pipeline
    from ft_assets.running import RunRequest

_STYLES = {"failed": "red", "not started": "yellow", "made": "green", "up to date": "dim"}


@click.command()
@click.argument("pipeline")
@click.option("--drops", default="", help="The drops, by name, with commas between.")
@click.option("--all", "every", is_flag=True, help="All drops; what is up to date costs nothing.")
@click.option("--missing", is_flag=True, help="Drops of which an asset was never made.")
@click.option("--stale", is_flag=True, help="Drops of which an asset is out of date.")
@what_is_made
@click.option("--here", is_flag=True, help="Run in this process although a daemon is there.")
@json_option
@command
def backfill(
    *,
    pipeline: str,
    drops: str,
    every: bool,
    missing: bool,
    stale: bool,
    select: str,
    settings: tuple[str, ...],
    recipes: tuple[str, ...],
    force: bool,
    here: bool,
    as_json: bool,
) -> None:
    """Run a pipeline on several drops; without a choice, on those that are missing or stale.

    Dagster's daemon runs them as one backfill when it is there (ft ui starts one); otherwise they
    run here, one after the other. A drop that fails stops no other.
    """
    from ft_assets.running import RunRequest

    chosen = pipeline_named(pipeline)
    refuse_drops_of_none(chosen, "ft backfill", f"use ft run {pipeline}")
    request = RunRequest(
        pipeline=chosen,
        partition=None,
        select=names(select),
        settings=parse_settings(settings),
        force=force,
        recipes=recipes,
    )
    with stdout_is_for_results(), instance_here() as instance:
        found = _drops(
            chosen,
            instance,
            named=names(drops),
            every=every,
            missing=missing or not stale,
            stale=stale or not missing,
        )
    if not found:
        result: dict[str, Any] = {"pipeline": pipeline, "through": None, "drops": []}
        words = f"{pipeline}: every drop is made and nothing is stale (--all runs them all)"
        show(result, lambda console: console.print(words), as_json=as_json)
    else:
        run_drops(request, found, daemon=not here, as_json=as_json)


def _drops(
    pipeline: Pipeline,
    instance: DagsterInstance,
    *,
    named: Sequence[str],
    every: bool,
    missing: bool,
    stale: bool,
) -> list[str]:
    """The drops that are meant, in natural order.

    Raises:
        UserError: there is no such drop, or none at all.
    """
    from ft_assets.code_location import default_resources
    from ft_assets.drop_states import DropStates, known_drops
    from resources.sources.partitions import natural_order

    sources = default_resources()["sources"]
    known = known_drops(pipeline, sources, instance)
    listed = sources.list_partitions(pipeline.spec.dataset.uri, base_dir=pipeline.folder)
    unknown = [drop for drop in named if drop not in known]
    if unknown and listed is not None:
        newest = ", ".join(known[-5:]) or "none"
        raise UserError(
            f"--drops {','.join(unknown)}: there is no such drop at {pipeline.spec.dataset.uri}; "
            f"the newest ones are {newest}"
        )
    if named:
        return sorted(named, key=natural_order)
    if not known:
        raise UserError(
            f"pipeline {pipeline.spec.name} has no data drop yet: nothing matches "
            f"{pipeline.spec.dataset.uri}; put one there, or name it with --drops"
        )
    if every:
        return known
    states = DropStates(pipeline, instance)
    return [
        drop
        for drop in known
        if (missing and states.is_missing(drop)) or (stale and states.is_stale(drop))
    ]


def run_drops(
    request: RunRequest, drops: Sequence[str], *, daemon: bool = False, as_json: bool
) -> None:
    """Run the pipeline on the drops and print what became of each; the status is 1 if one failed.

    Args:
        request: what is wanted of each drop; its ``partition`` does not matter.
        drops: their names, in the order in which they run.
        daemon: whether the daemon runs them when it is there.
        as_json: whether one JSON object is printed in place of a table.

    Raises:
        UserError: the request is not valid; nothing has run then.
    """
    from ft_assets.automation.one_at_a_time import one_at_a_time
    from ft_assets.backfilling import daemon_is_there, follow, run_here, submit

    pipeline = request.pipeline
    refuse_drops_of_none(pipeline, f"--partition {','.join(drops)}", "leave the option out")
    outcomes: list[DropOutcome] = []
    with stdout_is_for_results(), instance_here() as instance:
        # Dagster's own backfill has its runs side by side: these need the one before.
        in_order = one_at_a_time(pipeline)
        through = "daemon" if daemon and not in_order and daemon_is_there(instance) else "here"
        backfill_id = None
        if through == "daemon":
            backfill_id = submit(instance, request, drops)
            stderr.print(
                f"backfill {backfill_id} of {len(drops)} drops goes on in the daemon; stopping "
                "this command does not stop it (the UI does: Runs, Backfills)"
            )
            coming = follow(instance, backfill_id, drops)
        else:
            coming = run_here(instance, request, drops, _watching)
        for outcome in coming:
            outcomes.append(outcome)
            line = f"{outcome.drop}: {outcome.result} ({len(outcomes)} of {len(drops)})"
            stderr.print(line, markup=False, highlight=False)
    order = {drop: place for place, drop in enumerate(drops)}
    outcomes.sort(key=lambda outcome: order[outcome.drop])
    _show(pipeline.spec.name, through, backfill_id, outcomes, as_json=as_json)


@contextmanager
def _watching(drop: str, number: int, of: int) -> Generator[None]:
    from ft_assets.cli.bars import bars

    stderr.print(f"drop {drop} ({number} of {of})", markup=False, highlight=False)
    with bars():
        yield


def _show(
    name: str,
    through: str,
    backfill_id: str | None,
    outcomes: Sequence[DropOutcome],
    *,
    as_json: bool,
) -> None:
    bad = [each.drop for each in outcomes if each.result in ("failed", "not started")]
    result: dict[str, Any] = {
        "pipeline": name,
        "through": through,
        "backfill": backfill_id,
        "drops": [_as_dict(each) for each in outcomes],
    }
    error = f"{len(bad)} of {len(outcomes)} drops were not made: {', '.join(bad)}"
    if as_json and bad:
        fail(error, as_json=True, **result)
    show(result, lambda console: _table(console, name, outcomes), as_json=as_json)
    if bad:
        fail(error, as_json=False)


def _as_dict(each: DropOutcome) -> dict[str, Any]:
    outcome = each.outcome
    return {
        "drop": each.drop,
        "result": each.result,
        "versions": each.versions,
        "why": each.why,
        "made": outcome.made if outcome else [],
        "up_to_date": outcome.up_to_date if outcome else [],
        "work_seconds": round(outcome.work_seconds, 3) if outcome else 0.0,
        "run_id": outcome.run_id if outcome else None,
    }


def _table(console: Console, name: str, outcomes: Sequence[DropOutcome]) -> None:
    table = Table("drop", "result", "model version", title=f"{name}, {len(outcomes)} drops")
    table.add_column("why", overflow="fold")
    for each in outcomes:
        table.add_row(
            each.drop,
            f"[{_STYLES[each.result]}]{each.result}[/]",
            "\n".join(each.versions),
            each.why.replace("[", "\\["),
        )
    console.print(table)
