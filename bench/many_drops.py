"""An instance with many drops, for bench/partitions.py and bench/daemon_memory.py.

Made without running them all: one real run of one drop; the rows that it left are copied for the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as db
import yaml

ROOT = Path(__file__).parent.parent
NAME = "many"
SIDES = {"plain": "bench.plain_drops", "ours": "ft_assets.definitions"}
PIPELINES = {"plain": "plain", "ours": NAME}


def write_instance(home: Path, storage: dict[str, Any] | None) -> None:
    """The repository's own ``dagster.yaml`` in a new folder.

    Args:
        home: the folder.
        storage: as ``dagster.yaml`` has it, in place of its own; None for the SQLite that is there.
    """
    home.mkdir(parents=True)
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    settings |= {"storage": storage} if storage else {}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))


def names(count: int) -> list[str]:
    return [f"drop-{number:06d}" for number in range(count)]


def materialize_one(side: str, drop: str) -> None:
    """One real run of the first asset for one drop."""
    import dagster as dg

    definitions: dg.Definitions = __import__(SIDES[side], fromlist=["defs"]).defs
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(f"{PIPELINES[side]}_drops", [drop])
        done = definitions.resolve_job_def(PIPELINES[side]).execute_in_process(
            instance=instance,
            partition_key=drop,
            asset_selection=[dg.AssetKey([PIPELINES[side], "raw_dataset"])],
        )
        if not done.success:
            raise RuntimeError(f"{side}: the run of one drop failed")


def copy_events(side: str, drop: str, others: Sequence[str]) -> None:
    """The rows that the run left in the event log, once more for every other drop."""
    import dagster as dg
    from dagster._core.storage.event_log import SqlEventLogStorage
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
    from dagster._core.storage.legacy_storage import LegacyEventLogStorage

    key = dg.AssetKey([PIPELINES[side], "raw_dataset"]).to_string()
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(f"{PIPELINES[side]}_drops", list(others))
        storage: Any = instance.event_log_storage
        if isinstance(storage, LegacyEventLogStorage):
            storage = storage._storage.event_log_storage
        assert isinstance(storage, SqlEventLogStorage)
        with storage.index_connection() as connection:
            query = db.select(Events).where(Events.c.asset_key == key, Events.c.partition == drop)
            rows = [dict(row._mapping) for row in connection.execute(query.order_by(Events.c.id))]
            assert rows
            for start in range(0, len(others), 2000):
                connection.execute(
                    Events.insert(),
                    [
                        {
                            **{name: value for name, value in row.items() if name != "id"},
                            "partition": other,
                            "event": row["event"].replace(drop, other),
                        }
                        for other in others[start : start + 2000]
                        for row in rows
                    ],
                )


def settle(drops: Sequence[str]) -> str:
    """The ledger of our sensor as it is once every drop has run; returns its cursor."""
    import dagster as dg
    from dagster._core.storage.runs.schema import KeyValueStoreTable

    from ft_assets.automation.new_data.ledger import Asked, sql_storage
    from ft_assets.automation.new_data.state import Cursor
    from ft_assets.code_location import default_resources
    from ft_assets.config import find_pipelines

    (pipeline,) = [one for one in find_pipelines() if one.spec.name == NAME]
    sources = default_resources()["sources"]
    position, rows = "", []
    while True:
        page = sources.drops_after(pipeline.spec.dataset.uri, position, base_dir=pipeline.folder)
        for drop, version in page.drops.items():
            row = Asked(1, version.token, seen=True).row()
            rows.append({"key": f"ft/asked/{NAME}/{drop}", "value": row})
        position = page.position
        if page.end:
            break
    assert len(rows) == len(drops)
    with (
        dg.DagsterInstance.get() as instance,
        sql_storage(instance.run_storage).connect() as connection,
    ):
        for start in range(0, len(rows), 5000):
            connection.execute(KeyValueStoreTable.insert(), rows[start : start + 5000])
    return Cursor(watermark=position).text()
