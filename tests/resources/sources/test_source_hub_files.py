"""Which files of a hub dataset are its rows."""

from __future__ import annotations

import pytest

from resources.errors import UserError
from resources.sources.hub_files import Choice, choose
from resources.sources.uri import HubUri, parse_uri


def pick(uri: str, paths: list[str], card: str = "") -> Choice:
    parsed = parse_uri(uri)
    assert isinstance(parsed, HubUri)
    return choose(parsed, card, paths)


def card(configs: str) -> str:
    return f"---\nlicense: mit\nconfigs: {configs}\n---\n# A dataset\n"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["b.jsonl", "a.parquet"], ["a.parquet", "b.jsonl"]),
        (["d/train-0-of-2.parquet", "d/test-0.parquet"], ["d/train-0-of-2.parquet"]),
        (["train/a.jsonl", "dev/a.jsonl"], ["train/a.jsonl"]),
        (["training.jsonl", "strain.jsonl"], ["training.jsonl"]),
        (["chats.jsonl", "test.jsonl"], ["chats.jsonl"]),
        (["train/test-cases.jsonl", "train/a.jsonl"], ["train/a.jsonl"]),
    ],
)
def test_names_tell_the_split(paths: list[str], expected: list[str]):
    assert list(pick("hf://org/d", paths).files) == expected


def test_a_split_is_chosen_by_name():
    paths = ["train.jsonl", "validation.jsonl", "gold-01.jsonl"]
    assert pick("hf://org/d#validation", paths).files == ("validation.jsonl",)
    assert pick("hf://org/d#gold", paths).files == ("gold-01.jsonl",)
    with pytest.raises(UserError, match="no split test; there is train, validation"):
        pick("hf://org/d#test", paths)


def test_what_was_left_out_is_said():
    choice = pick("hf://org/d", ["train.jsonl", "test.jsonl", "extra.jsonl"])
    assert choice.notes == (
        "took the split train; left out test",
        "left out files that name no split: extra.jsonl",
    )


@pytest.mark.parametrize("paths", [["test.jsonl"], ["test.jsonl", "validation.jsonl"]])
def test_held_out_rows_are_never_trained_on_for_want_of_others(paths: list[str]):
    with pytest.raises(UserError, match=r"no split train, only test.*such as hf://org/d#test"):
        pick("hf://org/d", paths)


@pytest.mark.parametrize(
    "data_files",
    [
        '"rows/*.jsonl"',
        '["rows/*.jsonl"]',
        '[{split: train, path: ["rows/a.jsonl", "./rows/b.jsonl"]}, {split: test, path: "t/**"}]',
        '{train: "rows/[a-b].jsonl", test: "t/**"}',
        '"rows/?.jsonl"',
        '"**/[!t].jsonl"',
    ],
)
def test_a_card_may_name_its_files_in_each_form(data_files: str):
    paths = ["rows/a.jsonl", "rows/b.jsonl", "t/t.jsonl", "README.jsonl"]
    choice = pick("hf://org/d", paths, card(f"[{{config_name: x, data_files: {data_files}}}]"))
    assert choice.files == ("rows/a.jsonl", "rows/b.jsonl")


def test_a_card_may_name_a_folder():
    paths = ["en/train.jsonl", "en/test.jsonl", "de/train.jsonl", "english/train.jsonl"]
    configs = card("[{config_name: en, data_dir: en}, {config_name: de, data_dir: ./de/}]")
    assert pick("hf://org/d:en", paths, configs).files == ("en/train.jsonl",)
    assert pick("hf://org/d:de", paths, configs).files == ("de/train.jsonl",)


def test_one_of_several_configs_must_be_meant():
    paths = ["a.jsonl", "b.jsonl"]
    a = "{config_name: a, data_files: a.jsonl}"
    with pytest.raises(UserError, match=r"configs a, b: name one, such as hf://org/d:a"):
        pick("hf://org/d", paths, card(f"[{a}, {{config_name: b, data_files: b.jsonl}}]"))
    default = f"[{a}, {{config_name: b, data_files: b.jsonl, default: true}}]"
    assert pick("hf://org/d", paths, card(default)).files == ("b.jsonl",)


def test_an_unknown_config_is_refused():
    configs = card("[{config_name: a, data_files: a.jsonl}]")
    with pytest.raises(UserError, match="no config x; the dataset card has a"):
        pick("hf://org/d:x", ["a.jsonl"], configs)
    with pytest.raises(UserError, match="names no configs: write hf://org/d@v1"):
        pick("hf://org/d:x@v1", ["a.jsonl"], "# no header")


def test_the_only_config_may_be_called_by_the_hubs_name():
    assert pick("hf://org/d:default#train", ["train.jsonl"]).files == ("train.jsonl",)


def test_several_splits_without_train_are_refused():
    configs = card("[{config_name: a, data_files: {x: a.jsonl, y: b.jsonl}}]")
    with pytest.raises(UserError, match=r"only x, y.*hf://org/d#x"):
        pick("hf://org/d", ["a.jsonl", "b.jsonl"], configs)
    assert pick("hf://org/d#y", ["a.jsonl", "b.jsonl"], configs).files == ("b.jsonl",)


def test_the_only_split_is_taken_and_said():
    configs = card("[{config_name: a, data_files: {train_sft: a.jsonl}}]")
    assert pick("hf://org/d", ["a.jsonl"], configs).notes == ("took the only split, train_sft",)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(UserError, match="holds no dataset file"):
        pick("hf://org/d", ["a.jsonl"], card("[{config_name: a, data_files: b.jsonl}]"))


def test_a_broken_card_is_refused():
    with pytest.raises(UserError, match="is not YAML"):
        pick("hf://org/d", ["a.jsonl"], "---\nconfigs: [\n---\n")
