"""``ft list``: which pipelines there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.table import Table

from ft_assets.cli.output import command, json_option, show
from ft_assets.config import find_pipelines
from resources.sources import redact

if TYPE_CHECKING:
    from rich.console import Console


@click.command("list")
@json_option
@command
def list_pipelines(*, as_json: bool) -> None:
    """List the pipelines."""
    pipelines = find_pipelines()

    def text(console: Console) -> None:
        table = Table("pipeline", "algorithm", "base model", "dataset", "description")
        for pipeline in pipelines:
            spec = pipeline.spec
            table.add_row(
                spec.name,
                spec.training.algorithm,
                spec.training.base_model,
                redact(spec.dataset.uri),
                spec.description,
            )
        console.print(table)

    result = {
        "pipelines": [
            {
                "name": pipeline.spec.name,
                "file": str(pipeline.file),
                "partitioned": pipeline.spec.partitioned,
                "algorithm": pipeline.spec.training.algorithm,
                "base_model": pipeline.spec.training.base_model,
                "dataset": redact(pipeline.spec.dataset.uri),
                "description": pipeline.spec.description,
            }
            for pipeline in pipelines
        ]
    }
    show(result, text, as_json=as_json)
