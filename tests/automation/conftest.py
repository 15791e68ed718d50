"""What the tests of automation share: an instance in memory, one for each file, and its worlds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """Of Dagster; the worlds of a file share it, each with a pipeline of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def world(instance: dg.DagsterInstance, tmp_path: Path) -> Callable[..., World]:
    """``world(quiet=0, ...)``: a folder of drops and the sensor with these parameters."""

    def make(dataset: dict[str, Any] | None = None, **automation: Any) -> World:
        store = FolderStore(tmp_path / "drops")
        return World(store, instance, {"dataset": dataset or {}, "automation": automation})

    return make
