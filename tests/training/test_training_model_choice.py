"""A manifest says which model a run has made; names decide once, times of modification never."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ft_assets.training.model_choice import (
    CHOICE_FILE,
    ModelChoice,
    choose,
    forget_choice,
    record_choice,
)
from resources.errors import UserError

INSTRUCTLAB = ("samples_90", "samples_1000", "samples_200")
MINI_TRAINER = (
    "samples_64.0",
    "samples_64.0_best_val_loss",
    "samples_128.0_best_val_loss",
    "samples_192.0",
)


def folders(run_dir: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        folder = run_dir / "hf_format" / name
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    return run_dir


@pytest.mark.parametrize(
    ("names", "choice", "chosen"),
    [
        (INSTRUCTLAB, "last", "samples_1000"),
        (MINI_TRAINER, "last", "samples_192.0"),
        (MINI_TRAINER, "best", "samples_128.0_best_val_loss"),
        (("samples_64", "samples_64_best_val_loss"), "last", "samples_64"),
        (("samples_64", "samples_64_best_val_loss"), "best", "samples_64_best_val_loss"),
        (("samples_64", "samples_128_best_val_loss"), "last", "samples_128_best_val_loss"),
        (("last_epoch", "samples_64"), "last", "last_epoch"),
        (("samples_9", "samples_x", "samples_99.partial", "other"), "last", "samples_9"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_name_chooses_whatever_was_modified_last(tmp_path, names, choice, chosen, backwards):
    folders(tmp_path, *(reversed(names) if backwards else names))
    assert choose(tmp_path, choice) == tmp_path / "hf_format" / chosen


@pytest.mark.parametrize("names", [(), ("samples_x",)])
@pytest.mark.parametrize("choice", ["last", "best"])
def test_a_run_without_a_model_is_refused(tmp_path, names, choice):
    folders(tmp_path, *names)
    with pytest.raises(UserError, match="the training backend wrote no model"):
        choose(tmp_path, choice)


def test_without_a_measured_model_there_is_no_best_one(tmp_path):
    folders(tmp_path, *INSTRUCTLAB)
    with pytest.raises(UserError, match=r"checkpoint_choice: best: .*lower .*validation_steps"):
        choose(tmp_path, "best")


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "hf_format" / "samples_80"))


def test_a_model_is_named_with_the_digests_of_its_files(tmp_path, model):
    made = record_choice(tmp_path, model, "best", held_out_loss=2.5)
    assert ModelChoice.load(tmp_path) == made
    assert (made.model_dir, made.choice, made.held_out_loss) == (
        "hf_format/samples_80",
        "best",
        2.5,
    )
    assert set(made.files) == {path.name for path in model.iterdir()}
    assert made.check(tmp_path) == model


def test_a_model_that_is_not_whole_is_not_named(tmp_path, model):
    (model / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        record_choice(tmp_path, model, "last")
    assert ModelChoice.load(tmp_path) is None


def test_nothing_is_named_in_a_folder_without_a_manifest(tmp_path, model):
    assert ModelChoice.load(tmp_path) is None
    record_choice(tmp_path, model, "last")
    forget_choice(tmp_path)
    forget_choice(tmp_path)
    assert ModelChoice.load(tmp_path) is None
    (tmp_path / f"{CHOICE_FILE}.partial").write_text('{"model_dir"')
    assert ModelChoice.load(tmp_path) is None


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_bit, r"model\.safetensors does not hold what was written"),
        (cut_off, r"model\.safetensors has \d+ bytes where \d+ were written"),
        (Path.unlink, r"model\.safetensors is missing"),
    ],
)
def test_a_model_that_was_damaged_afterwards_is_found_out(tmp_path, model, damage, said):
    made = record_choice(tmp_path, model, "last")
    damage(model / "model.safetensors")
    with pytest.raises(UserError, match=f"damaged after it was verified: {said}"):
        made.check(tmp_path)
