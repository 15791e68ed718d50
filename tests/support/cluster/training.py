"""A training on a platform of the tests, to be hit while it trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.cluster.platform import Platform
from tests.support.cluster.programs import wait_until


def launched_until_a_checkpoint(platform: Platform, launch: Callable[[], str]) -> str:
    """Launch a training; gives the run's id, once it has a checkpoint."""
    before = _checkpoints(platform)
    run_id = launch()
    wait_until(
        lambda: bool(_checkpoints(platform) - before) or platform.run(run_id).is_finished,
        "the first checkpoint",
        seconds=400,
        every=0.3,
    )
    assert not platform.run(run_id).is_finished, platform.explain(run_id)
    return run_id


def _checkpoints(platform: Platform) -> set[Path]:
    return set((platform.tiny.home / "runs").glob("*/checkpoint-*/manifest.json"))
