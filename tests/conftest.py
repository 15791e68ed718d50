"""Fixtures of the tests that run a whole pipeline: the tiny one, before and after its first run.

And of those that need a cluster, or a server beside it: see tests/support/cluster.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ft_assets.warm_workers import warm_workers
from tests.support.cluster.fixtures import control_plane, namespace, node_agent, postgres
from tests.support.migrations import read_migrations_once
from tests.support.tiny_model import make_tiny_model
from tests.support.tiny_pipeline import Ft, TinyPipeline, clean_environment, make_tiny_pipeline

__all__ = ["control_plane", "namespace", "node_agent", "postgres"]

# absl's log handler keeps the stderr of its import and closes it when somebody sets up logging, as
# Dagster does for each run. It must not be the stream in which pytest catches what tests print.
with redirect_stderr(sys.__stderr__):
    import absl.logging  # noqa: F401  # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]

read_migrations_once()

# A property has no deadline: how long an example takes says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_configure(config: pytest.Config) -> None:
    """Take back what a shell does that starts the tests in the background: it ignores signals.

    Children inherit that, and the tests of interrupted runs would wait for an end that never comes.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def warm() -> Generator[None]:
    """One warm host for all runs of this process, as `ft ui` has one for all that it starts."""
    with warm_workers():
        yield


FtHere = Callable[..., Ft]
"""``ft(pipeline, *arguments)``: the command in this process, which saves seconds per call."""


@pytest.fixture(scope="session")
def tiny_base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny-qwen2")


@pytest.fixture
def tiny(tmp_path: Path, tiny_base_model: Path) -> TinyPipeline:
    """The tiny pipeline, which has never run."""
    return make_tiny_pipeline(tmp_path / "tiny", tiny_base_model)


@dataclass(frozen=True)
class Trained:
    """The tiny pipeline after one run of the whole graph. Read only: all tests share it."""

    pipeline: TinyPipeline
    call: Ft

    @property
    def result(self) -> dict[str, Any]:
        """What ``ft run --json`` printed."""
        return self.call.json


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base_model: Path) -> Trained:
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("trained"), tiny_base_model)
    call = pipeline.ft("run", "tiny", "--json")
    assert call.exit_code == 0, call.stderr
    return Trained(pipeline, call)


@pytest.fixture
def trained_once(trained: Trained, tmp_path: Path) -> TinyPipeline:
    """The tiny pipeline after its first run, for one test to go on with."""
    return trained.pipeline.clone(tmp_path / "once")


@pytest.fixture
def ft(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> FtHere:
    def call(pipeline: TinyPipeline, *arguments: str, **environment: str) -> Ft:
        from dagster._core.definitions.reconstruct import ReconstructableJob

        from ft_assets.cli import main

        given = clean_environment({**pipeline.environment, **environment})
        for name in os.environ.keys() - given.keys():
            monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        exit_code: Any = 0
        try:
            # A process reads its environment once; this one reads it for every call.
            sys.modules.pop("ft_assets.definitions", None)
            ReconstructableJob.get_definition.cache_clear()
            ReconstructableJob.get_repository_definition.cache_clear()
            main(args=list(arguments), prog_name="ft")
        except SystemExit as stop:
            exit_code = stop.code or 0
        finally:
            monkeypatch.delenv("DAGSTER_HOME", raising=False)  # that ft sets for its children
        captured = capfd.readouterr()
        return Ft(exit_code, captured.out, captured.err)

    return call


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadgroup``: tests that share a control plane, or images, stay together."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.support.sharing import BySharedThings

    return BySharedThings(config, log)
