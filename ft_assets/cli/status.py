"""``ft status``: what Dagster says of a pipeline's drops, and which model is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ft_assets.cli.asked import instance_here, names, pipeline_named, refuse_drops_of_none
from ft_assets.cli.output import command, json_option, show, stdout_is_for_results
from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.config import Pipeline, PipelineSpec
    from ft_assets.drop_states import AssetState

_SHOWN = 20
"""How many drops, the newest ones, are shown when nobody asks for others."""


@click.command()
@click.argument("pipeline")
@click.option("--drops", default="", help="The drops, by name, with commas between.")
@click.option("--all", "every", is_flag=True, help=f"All drops, not the newest {_SHOWN} alone.")
@json_option
@command
def status(*, pipeline: str, drops: str, every: bool, as_json: bool) -> None:
    """Show the drops of a pipeline: what is made, missing or stale, and why; and the champion."""
    from ft_assets.code_location import default_resources
    from ft_assets.drop_states import DropStates, known_drops

    chosen = pipeline_named(pipeline)
    wanted = names(drops)
    if wanted:
        refuse_drops_of_none(chosen, f"--drops {drops}", "leave the option out")
    with stdout_is_for_results(), instance_here() as instance:
        known: list[str] = []
        if chosen.spec.partitioned:
            known = known_drops(chosen, default_resources()["sources"], instance)
            _refuse_unknown(wanted, known)
        states = DropStates(chosen, instance)
        shown: list[str] | list[None] = [None]
        if chosen.spec.partitioned:
            shown = wanted or (known if every else known[-_SHOWN:])
        found = [(drop, states.of(drop)) for drop in shown]
        missing = sum(states.is_missing(drop) for drop in known)
    champions = [_champion(spec) for spec in _specs(chosen)]
    result: dict[str, Any] = {
        "pipeline": pipeline,
        "champions": champions,
        "drops_known": len(known),
        "drops_with_something_missing": missing,
        "drops": [
            {
                "drop": drop,
                "assets": {
                    name: {"state": state.state, "causes": list(state.causes)}
                    for name, state in assets.items()
                },
            }
            for drop, assets in found
        ],
    }
    show(result, lambda console: _text(console, result, found), as_json=as_json)


def _refuse_unknown(wanted: list[str], known: list[str]) -> None:
    unknown = [drop for drop in wanted if drop not in known]
    if unknown:
        raise UserError(
            f"--drops {','.join(unknown)}: there is no such drop; the newest ones are "
            f"{', '.join(known[-5:]) or 'none'}"
        )


def _specs(pipeline: Pipeline) -> list[PipelineSpec]:
    """Of the training block and of each recipe: each registers a model of its own."""
    return [pipeline.spec, *(recipe.spec for recipe in pipeline.recipes())]


def _champion(spec: PipelineSpec) -> dict[str, Any]:
    """The registered version in force."""
    from ft_assets.code_location import default_resources
    from resources.registry import open_registry

    registry = open_registry(default_resources()["registry"], spec.registry.settings())
    champion = registry.champion(spec.registry.name)
    return {
        "model": spec.registry.name,
        "version": champion.version if champion else None,
        "drop": str(champion.properties.get("partition") or "") or None if champion else None,
    }


def _text(
    console: Console,
    result: dict[str, Any],
    found: list[tuple[str | None, dict[str, AssetState]]],
) -> None:
    if not found:
        console.print(f"{result['pipeline']} has no data drop yet")
        return
    left_out = result["drops_known"] - len(found)
    title = result["pipeline"] + (f", {left_out} more drops: --all" if left_out > 0 else "")
    table = Table("drop", "fresh", "missing", title=title)
    table.add_column("stale, and why", overflow="fold")
    for drop, assets in found:
        fresh = [name for name, asset in assets.items() if asset.state == "fresh"]
        missing = [name for name, asset in assets.items() if asset.state == "missing"]
        stale = [
            f"{name}: {'; '.join(asset.causes)}"
            for name, asset in assets.items()
            if asset.state == "stale"
        ]
        table.add_row(
            drop or "(no drops)",
            _all_or(fresh, assets),
            _all_or(missing, assets),
            "\n".join(stale),
        )
    console.print(table)
    for champion in result["champions"]:
        words = champion["version"] or "none yet"
        if champion["drop"]:
            words += f" (drop {champion['drop']})"
        console.print(f"champion of {champion['model']}: {words}", highlight=False)


def _all_or(some: list[str], assets: Mapping[str, AssetState]) -> str:
    """The assets of one state, in a word where all are."""
    return "all" if len(some) == len(assets) else "\n".join(some)
