"""A full disk is said in words, leaves nothing half-written, and costs no whole checkpoint."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ft_assets.training.in_process.checkpoints import (
    last_checkpoint,
)
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError
from tests.support.small_disk import small_disk as mount_disk
from tests.support.training_runs import (
    RESUMABLE,
    run,
    silent,
    weights,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of the run, on a file system of its own."""
    with mount_disk(tmp_path / "run", "size=16k") as folder:
        yield folder


def resize(disk: Path, size: str) -> None:
    command = ["mount", "-o", f"remount,size={size}", str(disk)]
    subprocess.run(command, check=True)


SIZES = ["24k", "64k", "160k", "400k", "800k", "1100k", "1500k"]
"""In the tokens, the metrics, the first checkpoint, its optimizer, later ones, the model."""


@pytest.mark.slow
def test_a_full_disk_is_said_in_words_and_the_run_goes_on_with_more_room(plan_file, small_disk):
    uninterrupted = plan_file("uninterrupted", **RESUMABLE)
    run(uninterrupted)
    plan = plan_file("run", **RESUMABLE)
    reached: list[int] = []
    for size in SIZES:
        resize(small_disk, size)
        try:
            outcome = run(plan)
        except UserError as error:
            assert "the disk of" in str(error), size  # noqa: PT017
            assert "larger volume" in str(error)  # noqa: PT017
            assert TrainOutcome.load(plan.parent) is None
            assert not (plan.parent / "partial").exists()
            found = last_checkpoint(plan.parent, _fingerprint(plan), silent)
            reached.append(int(found.name.removeprefix("checkpoint-")) if found else 0)
    assert reached[:3] == [0, 0, 0]
    assert reached == sorted(reached)
    assert max(reached) > 0, "a whole checkpoint was there when the disk was full"
    resize(small_disk, "64m")
    outcome = run(plan)
    assert outcome.resumed_from_step >= reached[-1]
    assert weights(plan) == weights(uninterrupted)


def _fingerprint(plan: Path) -> str:
    return TrainPlan.model_validate_json(plan.read_text()).fingerprint
