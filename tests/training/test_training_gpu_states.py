"""A state of a GPU backend says how many steps of the epoch at hand are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ft_assets.training.gpu_states import (
    Epochs,
    mend_instructlab_states,
    mend_mini_trainer_states,
    written_states,
)

EPOCHS = Epochs(rows=20, batch=8, number=4)  # steps of 8, 8 and 4 rows


@pytest.mark.parametrize(
    ("epoch", "rows_seen", "done"),
    [
        (0, 0, 0),
        (0, 8, 1),
        (0, 20, 3),
        (1, 20, 0),
        (2, 56.0, 2),
        (3, 80, 3),
        (1, 19, None),
        (0, 21, None),
        (4, 80, 0),
        (4, 81, None),
        (5, 100, None),
    ],
)
def test_steps_of_an_epoch_follow_from_the_rows_that_were_seen(epoch, rows_seen, done):
    assert EPOCHS.steps == 3
    assert EPOCHS.done(epoch, rows_seen) == done


def state(folder: Path, name: str, file: str, about: Any) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "weights.bin").touch()
    if about is not None:
        torch.save(about, folder / name / file)
    return folder / name / file


def instructlab(folder: Path, epoch: int, about: Any) -> Path:
    return state(folder, f"epoch_{epoch}", "training_metadata.json", about)


@pytest.mark.parametrize(
    ("epoch", "global_step", "rows_seen", "done"),
    [
        (0, 2, 16, 2),  # after its second step
        (0, 3, 16, 2),  # before its third
        (2, 8, 56, 2),
        (2, 9, 60, 3),  # the epoch's last step is done, what follows it is not
        (1, 4, 20, 0),
    ],
)
def test_instructlab_passes_over_what_was_done_of_the_epoch(
    tmp_path, epoch, global_step, rows_seen, done
):
    about = {"current_epoch": epoch, "samples_seen": rows_seen, "global_step": global_step}
    file = instructlab(tmp_path, epoch, about)
    for _ in range(2):  # it may end before it begins, and go on once more
        mend_instructlab_states(tmp_path, EPOCHS)
        assert torch.load(file, weights_only=True) == {**about, "global_step": done}
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, "weights.bin"]


def test_what_instructlab_cannot_go_on_from_is_removed(tmp_path):
    end = {"current_epoch": 1, "samples_seen": 40}
    instructlab(tmp_path, 0, None)  # was being written
    instructlab(tmp_path, 1, end)  # the end of an epoch
    instructlab(tmp_path, 2, {"current_epoch": 2, "samples_seen": 99, "global_step": 8})
    instructlab(tmp_path, 3, None).write_bytes(b"PK damaged")
    mend_instructlab_states(tmp_path, EPOCHS)
    (left,) = tmp_path.iterdir()
    assert torch.load(left / "training_metadata.json", weights_only=True) == end


def mini_trainer(folder: Path, step: int, epoch: int, rows_seen: float) -> Path:
    about = {
        "step": step,
        "epoch": epoch,
        "sampler_epoch": epoch,
        "total_samples_accumulated": rows_seen,
        "lr_scheduler_state": {"last_epoch": step},
    }
    return state(folder, f"step_{step}", "training_state.pt", about)


@pytest.mark.parametrize(
    ("ended_at", "goes_on_at", "before"),
    [
        ((2, 0, 16.0), (0, 2), 0),
        ((8, 2, 56.0), (2, 2), 6),
        ((6, 2, 40.0), (2, 0), 6),
        ((6, 1, 40.0), (2, 0), 6),  # the epoch's last step is done, what follows it is not
        ((12, 3, 80.0), (4, 0), 12),  # all steps are done, and no model is written
    ],
)
def test_mini_trainer_passes_over_what_was_done_of_the_epoch(
    tmp_path, ended_at, goes_on_at, before
):
    step, epoch, rows_seen = ended_at
    mini_trainer(tmp_path, step, epoch, rows_seen)
    for _ in range(2):
        assert mend_mini_trainer_states(tmp_path, EPOCHS, saves_at_the_end=True) == before
        (left,) = tmp_path.iterdir()
        about = torch.load(left / "training_state.pt", weights_only=True)
        assert (about["epoch"], about["step"]) == goes_on_at
        assert about["sampler_epoch"] == about["epoch"]
        assert about["lr_scheduler_state"] == {"last_epoch": step}
        assert left.name == f"step_{about['step']}"


def test_mini_trainer_goes_on_from_the_newest_state_whatever_its_number(tmp_path):
    mini_trainer(tmp_path, 5, 1, 36.0)
    mini_trainer(tmp_path, 4, 2, 60.0)  # of a run that had gone on, and counted from the epoch
    state(tmp_path, "step_7", "training_state.pt", None)  # was being written
    assert mend_mini_trainer_states(tmp_path, EPOCHS, saves_at_the_end=True) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["step_0"]


def test_a_run_that_would_end_without_a_model_begins_anew(tmp_path):
    mini_trainer(tmp_path, 12, 3, 80.0)
    assert mend_mini_trainer_states(tmp_path, EPOCHS, saves_at_the_end=False) == 0
    assert not list(tmp_path.iterdir())


def test_where_there_is_no_state_nothing_is_made(tmp_path):
    missing = tmp_path / "missing"
    mend_instructlab_states(missing, EPOCHS)
    assert mend_mini_trainer_states(missing, EPOCHS, saves_at_the_end=True) == 0
    assert written_states(missing) == set()
    assert not missing.exists()


def test_a_state_that_is_written_again_is_a_new_one(tmp_path):
    file = mini_trainer(tmp_path, 2, 0, 16.0)
    before = written_states(tmp_path)
    file.unlink()
    assert written_states(tmp_path) == set()
    torch.save({}, file)
    assert written_states(tmp_path) - before
