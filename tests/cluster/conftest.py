"""The platform on the tests' cluster, and one run of the whole graph that several tests look at.

With pytest-xdist these tests belong into one worker, for one control plane: run them with
``--dist loadgroup`` (``tests/support/sharing.py``).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from resources.store import ArtifactStore
from tests.support.cluster.install import platform as running_platform
from tests.support.cluster.node_agent import NodeAgent
from tests.support.cluster.platform import Platform
from tests.support.cluster.two_nodes import write_pair
from tests.support.postgres import Postgres
from tests.support.seaweedfs import seaweedfs


@pytest.fixture(scope="session")
def platform(
    node_agent: NodeAgent, postgres: Postgres, tiny_base_model: Path
) -> Generator[Platform]:
    """Dagster's services, PostgreSQL and S3, as deploy/ has it: the tiny pipeline, and its pair."""
    with (
        seaweedfs() as s3,
        running_platform(node_agent, postgres, s3, tiny_base_model, write_more=write_pair) as here,
    ):
        yield here


@dataclass(frozen=True)
class GraphRun:
    """The run of the whole graph, over."""

    platform: Platform
    run: dg.DagsterRun

    @property
    def run_id(self) -> str:
        return self.run.run_id


@pytest.fixture(scope="session")
def graph(platform: Platform) -> GraphRun:
    """One run of all assets of the tiny pipeline. Read only: several tests look at it."""
    run = platform.wait(platform.launch())
    assert run.is_success, platform.explain(run.run_id)
    return GraphRun(platform, run)


@pytest.fixture
def artifacts(platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ArtifactStore:
    """The platform's artifact store."""
    for name, value in platform.s3.environment.items():
        monkeypatch.setenv(name, value)
    return ArtifactStore(
        root=f"s3://{platform.bucket}/artifacts",
        s3_endpoint_url=platform.s3.endpoint_url,
        cache_dir=str(tmp_path),
    )
