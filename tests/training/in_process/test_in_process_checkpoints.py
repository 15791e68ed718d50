"""A checkpoint counts when it is whole and of this run; what is damaged is passed over, aloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ft_assets.training.in_process.checkpoints import (
    MANIFEST,
    checkpoints,
    checkpoints_after,
    keep_newest,
    last_checkpoint,
    writing,
)
from tests.support.training_runs import (
    Said,
    StoppedError,
    cut_off,
    flip_a_bit,
    silent,
)


def write(run_dir: Path, step: int, *, full: bool = True, fingerprint: str = "mine", **more: Any):
    folder = run_dir / f"checkpoint-{step}"
    with writing(folder, step=step, fingerprint=fingerprint, full=full, **more) as partial:
        (partial / "weights").write_text(f"weights after {step}")
        (partial / "optimizer").write_text(f"moments after {step}")
    return folder


def names(run_dir: Path) -> list[str]:
    return [folder.name for folder in checkpoints(run_dir)]


def test_the_newest_checkpoint_is_the_one_with_the_most_steps(tmp_path):
    for step in (10, 9, 100):  # neither in the order of writing nor in that of letters
        write(tmp_path, step)
    said = Said()
    assert last_checkpoint(tmp_path, "mine", said) == tmp_path / "checkpoint-100"
    assert said.lines == ["resume 100 checkpoint=checkpoint-100"]


def test_without_a_checkpoint_training_begins_at_the_start_and_nothing_is_said(tmp_path):
    said = Said()
    assert last_checkpoint(tmp_path, "mine", said) is None
    assert said.lines == []


def test_a_checkpoint_is_there_when_it_is_whole_and_not_before(tmp_path):
    with writing(tmp_path / "checkpoint-4", step=4, fingerprint="mine", full=True) as partial:
        (partial / "weights").write_text("some")
        assert names(tmp_path) == []
    assert names(tmp_path) == ["checkpoint-4"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]


def test_a_checkpoint_whose_writing_failed_leaves_nothing(tmp_path):
    write(tmp_path, 2)

    def fails() -> None:
        folder = tmp_path / "checkpoint-4"
        with writing(folder, step=4, fingerprint="mine", full=True) as partial:
            (partial / "weights").write_text("some")
            raise StoppedError

    with pytest.raises(StoppedError):
        fails()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    (tmp_path / "partial" / "checkpoint-4").mkdir(parents=True)
    assert last_checkpoint(tmp_path, "mine", silent) is None
    assert list(tmp_path.iterdir()) == []


DAMAGES = [
    ("weights", flip_a_bit, "weights does not hold what was written (its sha256 differs)"),
    ("optimizer", cut_off, "optimizer has 14 bytes where 15 were written"),
    ("optimizer", Path.unlink, "optimizer is missing"),
    (MANIFEST, cut_off, "its manifest is missing or damaged"),
    (MANIFEST, Path.unlink, "its manifest is missing or damaged"),
]


@pytest.mark.parametrize(("file", "damage", "because"), DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, file, damage, because):
    older, newer = write(tmp_path, 2), write(tmp_path, 4)
    damage(newer / file)
    said = Said()
    assert last_checkpoint(tmp_path, "mine", said) == older
    assert said.lines == [
        f"not used: checkpoint-4 0 because={because}",
        "resume 2 checkpoint=checkpoint-2",
    ]


def test_when_all_are_damaged_training_begins_at_the_start_and_says_so(tmp_path):
    for step in (2, 4):
        flip_a_bit(write(tmp_path, step) / "weights")
    said = Said()
    assert last_checkpoint(tmp_path, "mine", said) is None
    assert len(said.lines) == 3
    assert said.lines[-1] == "resume 0 checkpoint=none: training begins at the start"


def test_a_checkpoint_of_another_fingerprint_is_never_gone_on_with(tmp_path):
    write(tmp_path, 4, fingerprint="0123456789abcdef")
    said = Said()
    assert last_checkpoint(tmp_path, "fedcba9876543210", said) is None
    assert (
        "it is another run's (fingerprint 0123456789ab, this run's is fedcba987654)"
    ) in said.lines[0]


def test_weights_alone_are_no_place_to_go_on_from(tmp_path):
    write(tmp_path, 2)
    write(tmp_path, 4, full=False)
    assert last_checkpoint(tmp_path, "mine", silent) == tmp_path / "checkpoint-2"


def test_the_newest_two_are_kept_and_weights_alone_push_none_of_them_out(tmp_path):
    for step in (9, 10, 11):
        keep_newest(tmp_path, write(tmp_path, step))
    for step in (12, 13):
        keep_newest(tmp_path, write(tmp_path, step, full=False))
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-11", "checkpoint-13"]


@pytest.mark.parametrize("begins_from", [None, 800])
def test_what_was_passed_over_is_no_newer_than_what_is_written_after_it(tmp_path, begins_from):
    for step in (800, 900, 1000):
        write(tmp_path, step)
    first = begins_from and tmp_path / f"checkpoint-{begins_from}"
    over = checkpoints_after(tmp_path, first)
    assert len(over) == (2 if begins_from else 3)
    for step in (810, 820, 830):
        over = keep_newest(tmp_path, write(tmp_path, step), over)
        assert f"checkpoint-{step}" in names(tmp_path)
        assert over == []
    assert names(tmp_path) == ["checkpoint-820", "checkpoint-830"]


def test_what_was_passed_over_stays_until_there_is_a_new_one_of_its_kind(tmp_path):
    """Weights alone are no place to go on from: they replace none, but count as the newest."""
    write(tmp_path, 10)
    write(tmp_path, 12, full=False)
    over = checkpoints_after(tmp_path, None)
    over = keep_newest(tmp_path, write(tmp_path, 2, full=False), over)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-10"]
    over = keep_newest(tmp_path, write(tmp_path, 10), over)  # the run comes by its step again
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-10"]
    assert over == []
    keep_newest(tmp_path, write(tmp_path, 14), over)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-10", "checkpoint-14"]


@pytest.mark.parametrize(("kept", "used"), [(None, 2), (3.0, 2), (1.5, 4), (1.0, 4)])
def test_a_checkpoint_from_after_lost_best_weights_is_not_used(tmp_path, kept, used):
    """The run would end with weights that are not its best."""
    write(tmp_path, 2)
    write(tmp_path, 4, held_out_loss=1.5)
    found = last_checkpoint(tmp_path, "mine", silent, best_loss=kept)
    assert found == tmp_path / f"checkpoint-{used}"
