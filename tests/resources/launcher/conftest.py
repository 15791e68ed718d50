"""Hosts of workers that are forked, and their absence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator

import pytest

from resources.launcher.warm import HOST, start_warm_host, worker_command
from tests.support.worker_processes import MODULE, worker_environment


@pytest.fixture
def cold_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker imports by itself."""
    monkeypatch.delenv(HOST, raising=False)


@pytest.fixture
def warm_host(monkeypatch: pytest.MonkeyPatch) -> Generator[subprocess.Popen[bytes]]:
    """A host of this test's own, which nobody has asked for a worker yet."""
    monkeypatch.delenv(HOST, raising=False)
    host = start_warm_host(["colorsys", "no.such.library"])
    if host is None:
        pytest.skip("no worker is forked here: a GPU, no Linux, or FT_WARM_WORKERS=0")
    monkeypatch.setenv(HOST, os.environ[HOST])
    yield host
    host.kill()
    host.wait()


@pytest.fixture
def warm_workers(
    warm_host: subprocess.Popen[bytes], tmp_path_factory: pytest.TempPathFactory
) -> subprocess.Popen[bytes]:
    """A host that has imported: workers are forked from now on."""
    plan = tmp_path_factory.mktemp("first") / "plan.json"
    plan.write_text('{"then": "end"}')
    subprocess.run(worker_command(MODULE, plan), env=worker_environment(), check=True)
    return warm_host
