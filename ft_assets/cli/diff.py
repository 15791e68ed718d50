"""``ft diff``: what changed between two registered versions.

Belongs here: which versions are meant, and how a comparison is shown. Does not belong here: the
comparison (``ft_assets.comparing``).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ft_assets.cli.output import command, json_option, show
from ft_assets.comparing import VersionComparison, compare_versions, table_rows
from ft_assets.comparing.replaced import replaced_champion
from ft_assets.comparing.table import UNKNOWN
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resources.registry import RegisteredVersion
    from resources.store import ArtifactStore


@click.command("diff")
@click.argument("version_a", metavar="VERSION_A")
@click.argument("version_b", metavar="[VERSION_B]", required=False)
@json_option
@command
def diff(*, version_a: str, version_b: str | None, as_json: bool) -> None:
    """Show what changed from one registered version to another: scores, data, parameters, code.

    Versions are named MODEL:VERSION, or MODEL for its champion. Without VERSION_B, VERSION_A is
    compared with the champion that it was judged against.
    """
    store = _store()
    first = _version(version_a)
    if version_b is None:
        old, new = _champion_before(first, store), first
    else:
        old, new = first, _version(version_b)
    comparison = compare_versions(old, new, store)
    show(comparison.as_dict(), lambda console: _draw(console, comparison), as_json=as_json)


def _version(name: str) -> RegisteredVersion:
    """The registered version that ``MODEL`` or ``MODEL:VERSION`` means."""
    from ft_assets.cli.registry import registry_of

    model, _, version = name.partition(":")
    registry = registry_of(model)
    found = registry.get(model, version) if version else registry.champion(model)
    if found is None:
        raise UserError(f"model {model!r} has no champion: name a version (ft registry list)")
    return found


def _champion_before(version: RegisteredVersion, store: ArtifactStore) -> RegisteredVersion:
    from ft_assets.cli.registry import registry_of

    before = replaced_champion(version, store)
    if before is None:
        raise UserError(
            f"{version.model} {version.version} was judged against no champion, or its report is "
            f"no longer kept: name a second version (ft registry list {version.model})"
        )
    return registry_of(before.model).get(before.model, before.version)


def _store() -> ArtifactStore:
    from ft_assets.code_location import default_resources

    return default_resources()["store"]


def _draw(console: Console, comparison: VersionComparison) -> None:
    old, new = comparison.old.name, comparison.new.name
    console.print(f"{old} -> {new}: {comparison.changed}", markup=False, highlight=False)
    for part, rows in groupby(table_rows(comparison), key=lambda row: row["part"]):
        if part != UNKNOWN:
            console.print(_table(part, list(rows)))
    for line in comparison.unknown:
        console.print(f"{UNKNOWN}: {line}", style="yellow", markup=False, highlight=False)


def _table(part: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """The rows of one part; the notes only where there are any."""
    notes = any(row["note"] for row in rows)
    names = ["what", "before", "now", *(["note"] if notes else [])]
    table = Table(
        Column(part, no_wrap=True), *("" if name == "note" else name for name in names[1:])
    )
    for row in rows:
        table.add_row(*(Text(row[name], overflow="fold") for name in names))
    return table
