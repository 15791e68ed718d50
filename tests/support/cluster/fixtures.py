"""The cluster as fixtures; tests/conftest.py registers them for every test.

Each part is a plain context manager too, for benchmarks: control_plane(), running_node(), ...
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support.cluster.control_plane import ControlPlane, ProgramMissingError
from tests.support.cluster.control_plane import control_plane as running_control_plane
from tests.support.cluster.node_agent import NodeAgent, running_node
from tests.support.postgres import Postgres
from tests.support.postgres import postgres as running_postgres


@pytest.fixture(scope="session")
def control_plane() -> Generator[ControlPlane]:
    """A real API server with its controllers and scheduler, without any node."""
    try:
        with running_control_plane() as plane:
            yield plane
    except ProgramMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Generator[str]:
    """A namespace of this test's own."""
    name = control_plane.namespace()
    yield name
    control_plane.delete_namespace(name)


@pytest.fixture(scope="session")
def node_agent(control_plane: ControlPlane) -> Generator[NodeAgent]:
    """The node that all tests share: ask it for faults of single pods only.

    A test that loses a node runs one of its own, with running_node(control_plane, "name",
    labels={...}), and selects it with a node selector: pods go to any node otherwise.
    """
    with running_node(control_plane, labels={"ft-assets/node": "shared"}) as node:
        yield node


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres]:
    """A real PostgreSQL; take a database of your own with postgres.new_database()."""
    with running_postgres() as server:
        yield server
