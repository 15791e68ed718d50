"""A dataset card: what the rows are, how they were divided, and what nobody has looked at."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import DatasetCard

from ft_assets.cards import CARD_FILE, dataset_card
from ft_assets.provenance.digest import files_digest


@pytest.fixture
def given(published) -> dict[str, Any]:
    split: Any = published.split.manifest.metadata
    return {
        "name": "tiny",
        "partition": "drop-1",
        "report": dict(split["report"]),
        "raw": published.raw.manifest.metadata,
        "config": split["provenance"]["config"],
    }


def test_the_header_names_the_files_of_both_sides(given):
    data = DatasetCard(dataset_card(**given)).data
    assert data.configs == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "train.jsonl"},
                {"split": "test", "path": "held_out.jsonl"},
            ],
        }
    ]
    assert (data.size_categories, data.pretty_name) == ("n<1K", "tiny, drop drop-1")


def test_a_split_without_held_out_rows_names_one_file(given):
    given["report"] |= {"held_out_rows": 0}
    (config,) = DatasetCard(dataset_card(**given)).data.configs
    assert [file["split"] for file in config["data_files"]] == ["train"]


@pytest.mark.parametrize(
    ("rows", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**13, "n>1T")]
)
def test_the_size_is_in_the_hubs_words(given, rows, category):
    given["report"] |= {"train_rows": rows, "held_out_rows": 0}
    assert DatasetCard(dataset_card(**given)).data.size_categories == category


def test_it_says_what_was_dropped_and_what_was_not_looked_for(given):
    given["report"] |= {
        "dropped": {"exact_duplicate": 3, "contaminated": 2},
        "warnings": ["strata: <none>"],
        "near_duplicates": 0,
    }
    card = dataset_card(**given)
    assert "| dropped: equal to an earlier row | 3 |" in card
    assert "Near duplicates were not looked for." in card
    assert "Training rows were not compared with the questions of evaluations." in card
    assert "mail addresses were not looked for in the rows" in card
    assert "- strata: &lt;none&gt;" in card


def test_finds_of_secrets_are_counted(given):
    config = {**given["config"], "sensitive": "redact"}
    raw = {**given["raw"], "report": {**given["raw"]["report"], "sensitive": {"email": 4}}}
    card = dataset_card(**{**given, "config": config, "raw": raw})
    assert "replaced by the names of their rules: email (4)." in card


def test_it_holds_no_row_no_time_and_no_path_of_this_machine(given, published):
    card = dataset_card(**given)
    assert card == dataset_card(**given)
    assert "run-1" not in card
    assert "2026-" not in card
    assert str(published.pipeline.root) not in card


@pytest.mark.slow
def test_a_split_of_a_pipeline_has_a_card_that_is_no_part_of_its_data_version(trained):
    split = trained.pipeline.artifact("split_dataset")
    card = DatasetCard.load(split.file(CARD_FILE))
    report: Any = split.manifest.metadata["report"]
    assert report["train_digest"] in card.text
    assert split.data_version == files_digest(split.path, ["train.jsonl", "held_out.jsonl"])
    from datasets import load_dataset

    rows = load_dataset(str(split.path), cache_dir=str(trained.pipeline.root / "datasets"))
    assert rows["train"].num_rows == report["train_rows"]
    assert rows["test"].num_rows == report["held_out_rows"]
