"""A Dagster instance that worlds share: emptied for each, and a run storage that lags behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.runs.schema import KeyValueStoreTable


@contextmanager
def late(instance: dg.DagsterInstance, hidden: set[str]) -> Iterator[None]:
    """The run storage does not show some runs: a replica that is behind."""
    above = instance.__dict__.get("get_runs")
    real = above or instance.get_runs

    def behind(*args: Any, **kwargs: Any) -> list[DagsterRun]:
        return [run for run in real(*args, **kwargs) if run.run_id not in hidden]

    instance.get_runs = behind  # type: ignore[method-assign]
    try:
        yield
    finally:
        del instance.get_runs
        if above is not None:
            instance.get_runs = above  # type: ignore[method-assign]


def wipe(instance: dg.DagsterInstance, pipeline: str) -> None:
    """Forget all runs, drops and what was asked for."""
    storage: Any = instance.run_storage
    storage.wipe()
    with storage.connect() as connection:
        connection.execute(KeyValueStoreTable.delete())
    for drop in instance.get_dynamic_partitions(f"{pipeline}_drops"):
        instance.delete_dynamic_partition(f"{pipeline}_drops", drop)
