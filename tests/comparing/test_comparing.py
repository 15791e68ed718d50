"""What changed between two registered versions: data, parameters, base model, code, scores."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ft_assets.comparing import table_rows
from ft_assets.comparing.change import Change
from ft_assets.comparing.parameters import PARTS, ParameterChange
from ft_assets.config.launchpad import BLOCK_OF_ASSET, GROUP_OF_ASSET
from tests.comparing.conftest import BASE, TRAINING, History, Past

FIRST = Past()


@pytest.fixture
def first(history: History):
    return history.register(FIRST)


def test_the_sentence_ties_the_loss_to_the_drop_the_rows_and_the_parameter(history, first):
    second = history.register(
        Past(
            drop="drop-2",
            train=range(4, 16),
            held_out=range(200, 204),
            training={**TRAINING, "learning_rate": 2e-05},
            loss=2.1,
        )
    )
    assert history.compare(first, second).changed == (
        "drop-2 instead of drop-1, 4 rows more; learning_rate 1e-05 -> 2e-05; held-out loss "
        "2.5000 -> 2.1000, not comparable: other held-out rows"
    )


def test_a_version_beside_itself_has_not_changed(history, first):
    comparison = history.compare(first, first)
    assert comparison.changed == (
        "nothing that is recorded changed; held-out loss 2.5000 -> 2.5000 on the same rows"
    )
    assert comparison.unknown == []
    assert {row["part"] for row in table_rows(comparison)} == {"metric"}


# --- data


def test_rows_are_compared_by_their_ids(history, first):
    second = history.register(
        replace(FIRST, train=range(3, 10), held_out=range(102, 106), dataset={"seed": 2})
    )
    rows = history.compare(first, second).data.rows
    assert rows is not None
    assert (rows.train_added, rows.train_removed) == (2, 3)
    assert (rows.held_out_added, rows.held_out_removed) == (2, 2)
    assert (rows.moved_to_training, rows.moved_to_held_out) == (0, 0)


def test_rows_that_change_sides_are_told_apart_from_new_ones(history, first):
    second = history.register(
        replace(FIRST, train=range(100, 110), held_out=range(6, 8), training={"x": 1})
    )
    comparison = history.compare(first, second)
    assert comparison.data.rows is not None
    assert comparison.data.rows.moved_to_training == 4
    assert comparison.data.rows.moved_to_held_out == 2
    assert "4 held-out rows moved into training" in comparison.changed


def test_with_accumulated_data_the_further_drop_is_named(history):
    two = Past(drop="drop-2", drops=("drop-1", "drop-2"))
    three = Past(drop="drop-3", drops=("drop-1", "drop-2", "drop-3"), train=range(20))
    comparison = history.compare(history.register(two), history.register(three))
    assert comparison.data.drops_added == ["drop-3"]
    assert comparison.data.drops_removed == []
    assert comparison.changed.startswith("drop-3 more, 12 rows more")


def test_of_many_further_drops_the_newest_are_named(history):
    drops = tuple(f"drop-{number}" for number in range(1, 12))
    one = Past(drop="drop-1", drops=drops[:1])
    six, eleven = (Past(drop=drops[n - 1], drops=drops[:n], train=range(8 + n)) for n in (6, 11))
    versions = [history.register(past) for past in (one, six, eleven)]
    comparison = history.compare(versions[0], versions[1])
    assert comparison.data.drops_added == list(drops[1:6])
    assert comparison.changed.startswith("drop-4, drop-5, drop-6 and 2 others more")
    later = history.compare(versions[1], versions[2]).changed
    assert later.startswith("drop-9, drop-10, drop-11 and 2 others more")


def test_of_more_drops_than_are_named_all_are_counted(history):
    drops = tuple(f"drop-{number}" for number in range(1, 27))
    first, last = (Past(drop=drops[n - 1], drops=drops[:n], train=range(8 + n)) for n in (1, 26))
    comparison = history.compare(history.register(first), history.register(last))
    assert comparison.data.drops_added == list(drops[6:])
    assert comparison.changed.startswith("drop-24, drop-25, drop-26 and 22 others more")
    (row,) = (row for row in table_rows(comparison) if row["what"] == "drops")
    assert row["now"].endswith("drop-26 and 5 others")


def test_rows_replaced_by_as_many_others_are_no_small_thing(history, first):
    second = history.register(replace(FIRST, train=range(2, 10)))
    assert history.compare(first, second).changed.startswith("2 rows replaced;")


def test_splits_with_the_same_rows_are_not_read(history, first):
    second = history.register(replace(FIRST, training={**TRAINING, "num_epochs": 3}))
    for file in history.root.rglob("train.jsonl"):
        file.unlink()
    rows = history.compare(first, second).data.rows
    assert rows is not None
    assert rows.train_added == rows.train_removed == 0


# --- parameters


def test_a_changed_parameter_stands_with_both_values_and_the_default(history, first):
    second = history.register(replace(FIRST, training={**TRAINING, "learning_rate": 2e-05}))
    assert history.compare(first, second).parameters == [
        ParameterChange("training.learning_rate", 1e-05, 2e-05, 5e-06, "")
    ]


def test_a_parameter_that_an_older_release_did_not_have_had_its_default(history, first):
    same = history.register(replace(FIRST, training={**TRAINING, "weight_decay": 0.0}))
    other = history.register(replace(FIRST, training={**TRAINING, "weight_decay": 0.1}))
    assert history.compare(first, same).parameters == []
    (change,) = history.compare(first, other).parameters
    assert (change.parameter, change.old, change.new) == ("training.weight_decay", 0.0, 0.1)
    assert change.note == "before: not recorded, the default"


def test_a_parameter_that_only_another_release_knows_is_shown(history, first):
    second = history.register(replace(FIRST, training={**TRAINING, "gone": 7}))
    (change,) = history.compare(first, second).parameters
    assert (change.parameter, change.old, change.new) == ("training.gone", None, 7)
    assert change.note == "before: there is no such parameter"


def test_the_rules_of_promotion_are_a_block_of_their_own(history, first):
    rules = {"primary": "held_out/loss", "min_samples": 99}
    second = history.register(replace(FIRST, evaluation={"promotion": rules, "seed": 7}))
    names = [change.parameter for change in history.compare(first, second).parameters]
    assert names == ["evaluation.seed", "promotion.min_samples"]


def test_the_sentence_names_what_makes_the_model_and_counts_the_rest(history, first):
    training = {**TRAINING, **dict.fromkeys(("seed", "num_epochs", "lora_r", "beta1"), 3)}
    rules = {"promotion": {"primary": "held_out/loss", "min_samples": 99}}
    second = history.register(replace(FIRST, training=training, evaluation=rules))
    third = history.register(replace(FIRST, evaluation=rules))
    said = history.compare(first, second).changed.partition(";")[0]
    assert said.count("->") == 3
    assert said.endswith("and 2 more parameters")
    assert history.compare(first, third).changed.startswith("min_samples 30 -> 99;")


def test_every_block_that_an_asset_records_is_compared():
    """The table is the launchpad's, which this package does not import: it knows Dagster."""
    recorded = {
        asset: {block, *([GROUP_OF_ASSET[asset][0]] if asset in GROUP_OF_ASSET else [])}
        for asset, (block, _) in BLOCK_OF_ASSET.items()
    }
    recorded["finetuned_model"].discard("kubernetes")  # says where, not what
    ours: dict[str, set[str]] = {}
    for block, asset, _ in PARTS:
        ours.setdefault(asset, set()).add(block)
    assert ours == {asset: blocks for asset, blocks in recorded.items() if asset in ours}
    assert set().union(*ours.values()) == set().union(*recorded.values())


# --- base model and code


def test_another_revision_of_the_base_model_is_named(history, first):
    base = {**BASE, "revision": "r2", "digest": "c" * 64}
    second = history.register(replace(FIRST, base=base))
    comparison = history.compare(first, second)
    assert comparison.base_model == [
        Change("revision", "r1", "r2"),
        Change("digest", "b" * 64, "c" * 64),
    ]
    assert "base model r1 -> r2" in comparison.changed


def test_a_training_that_went_on_from_the_champion_is_told_from_one_that_did_not(history, first):
    champion = {"model": "assistant", "version": "1.0.0"}
    training = {**TRAINING, "start_from": "champion"}
    second = history.register(replace(FIRST, drop="drop-2", training=training, start=champion))
    comparison = history.compare(first, second)
    assert comparison.base_model == [Change("started from", None, "assistant 1.0.0")]
    assert "started from assistant 1.0.0 instead of the base model" in comparison.changed
    assert [one.parameter for one in comparison.parameters] == ["training.start_from"]


def test_other_code_and_packages_are_named(history, first):
    second = history.register(replace(FIRST, code_version="4", packages={"torch": "2.14.0"}))
    comparison = history.compare(first, second)
    assert comparison.code == [
        Change("code version of finetuned_model", "3", "4"),
        Change("package torch", "2.13.0", "2.14.0"),
    ]
    assert "finetuned_model by code version 4 (3); torch 2.13.0 -> 2.14.0" in comparison.changed


def test_two_recipes_are_compared_across_their_models(history, first):
    other = history.register(replace(FIRST, recipe="careful", training={"learning_rate": 1e-06}))
    assert history.compare(first, other).changed.startswith("recipe careful instead of default;")


# --- what is gone


@pytest.mark.parametrize("asset", ["finetuned_model", "split_dataset", "eval_report"])
def test_what_is_no_longer_kept_is_said_and_the_rest_compared(history, first, asset):
    second = history.register(Past(drop="drop-2", train=range(4, 16), loss=2.1))
    history.forget(first, asset)
    comparison = history.compare(first, second)
    assert any(asset in line and "no longer kept" in line for line in comparison.unknown)
    assert comparison.data.train_rows == (8, 12)
    loss = comparison.metrics[0]
    assert (loss.metric, loss.old, loss.old_stderr, loss.new) == ("held_out/loss", 2.5, 0.1, 2.1)
    json.dumps(comparison.as_dict())


def test_a_store_that_keeps_nothing_leaves_what_the_registry_says(history, first):
    second = history.register(replace(FIRST, drop="drop-2", train=range(9), loss=2.1))
    for manifest in (history.root / "artifacts").rglob("manifest.json"):
        manifest.unlink()
    comparison = history.compare(first, second)
    assert comparison.changed == (
        "drop-2 instead of drop-1, 1 row more; held-out loss 2.5000 -> 2.1000, not comparable: the "
        "report of assistant 1.0.0 and of assistant 1.0.1 is not kept, so that nobody knows"
    )
    assert comparison.data.rows is None
    assert comparison.parameters == []


def test_rows_that_cannot_be_read_are_said(history, first):
    second = history.register(replace(FIRST, train=range(9)))
    for file in history.root.rglob("train.jsonl"):
        file.unlink()
    comparison = history.compare(first, second)
    assert comparison.data.rows is None
    assert any("the rows were not compared" in line for line in comparison.unknown)


def test_a_damaged_manifest_is_said(history, first):
    digest = first.properties["split_dataset.digest"]
    for manifest in (history.root / "artifacts").rglob(f"{digest}/manifest.json"):
        manifest.write_text("{")
    unknown = history.compare(first, first).unknown
    assert any("split_dataset behind assistant 1.0.0 is damaged" in line for line in unknown)


def test_a_version_that_another_tool_registered_has_no_past(history, first):
    from resources.registry import Registration

    foreign = history.registry.register(
        Registration(model="assistant", digest="f" * 64, uri="s3://elsewhere/model", author="x")
    )
    comparison = history.compare(first, foreign)
    assert "nothing says which finetuned_model stands behind assistant 1.0.1" in comparison.unknown
    json.dumps(comparison.as_dict())
