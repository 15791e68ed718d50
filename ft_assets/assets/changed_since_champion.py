"""What changed since the champion that a version replaced: for ``registered_version``'s page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.lineage import table
from resources.errors import UserError

if TYPE_CHECKING:
    from resources.registry import RegisteredVersion, Registry
    from resources.store import Artifact, ArtifactStore


_ROWS_SHOWN = 200  # of the table: it goes into Dagster's event log


def changed_since_champion(
    version: RegisteredVersion, report: Artifact, registry: Registry, store: ArtifactStore
) -> dict[str, Any]:
    """The change in one sentence, and in a table.

    Args:
        version: as it was just registered.
        report: the evaluation that it won by; names the champion of then.
        registry: where both versions are.
        store: where the artifacts behind them are.
    """
    from ft_assets.comparing import compare_versions, table_rows  # not what definitions load
    from ft_assets.comparing.replaced import champion_in

    before = champion_in(report.manifest.metadata)
    if before is None:
        return {"changed": "the first of its model: there was no champion to compare it with"}
    try:
        champion = registry.get(before.model, before.version)
    except UserError as error:  # removed there since: no reason not to register
        return {"changed": f"not known: {error}"}
    comparison = compare_versions(champion, version, store)
    rows = table_rows(comparison)
    page = {
        "changed": f"since {comparison.old.name}: {comparison.changed}",
        "changed_since_champion": table(rows[:_ROWS_SHOWN]),
    }
    if len(rows) > _ROWS_SHOWN:
        page["changes_not_shown"] = f"{len(rows) - _ROWS_SHOWN}: ft diff shows them"
    return page
