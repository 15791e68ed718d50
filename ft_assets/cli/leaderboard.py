"""``ft leaderboard``: every recipe on every drop, the best first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.table import Table

from ft_assets.cli.asked import instance_here, pipeline_named
from ft_assets.cli.output import command, json_option, show, stdout_is_for_results

if TYPE_CHECKING:
    from rich.console import Console


@click.command("leaderboard")
@click.argument("pipeline")
@click.option("--top", default=20, show_default=True, help="Rows to print; 0 prints all.")
@json_option
@command
def leaderboard(*, pipeline: str, top: int, as_json: bool) -> None:
    """Compare the models of all recipes and drops of a pipeline, as they are now."""
    from ft_assets.assets.leaderboard import shown_rows
    from ft_assets.code_location import default_resources

    with stdout_is_for_results(), instance_here() as instance:
        rows = shown_rows(pipeline_named(pipeline), instance, default_resources())
    chosen = rows[:top] if top else rows
    result = {"pipeline": pipeline, "models": len(rows), "leaderboard": chosen}

    def text(console: Console) -> None:
        if not chosen:
            console.print(f"{pipeline}: nothing has been evaluated yet (ft run {pipeline})")
            return
        table = Table(*chosen[0])
        for row in chosen:
            cells = ("" if value is None else str(value) for value in row.values())
            table.add_row(*cells, style="dim" if row["verdict"] == "lost" else "")
        console.print(table)
        if len(rows) > len(chosen):
            console.print(f"{len(rows) - len(chosen)} more: --top 0")

    show(result, text, as_json=as_json)
