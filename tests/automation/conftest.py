"""What the tests of automation share: an instance in memory, one for each file."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """Of Dagster; the worlds of a file share it, each with a pipeline of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
