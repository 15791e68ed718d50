"""What a second run does: only what the data, the parameters or a person ask for."""

from __future__ import annotations

import json

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from ft_assets.code_location import default_resources
from ft_assets.config import load_pipeline
from ft_assets.pipeline import pipeline_definitions
from resources.registry import EmbeddedRegistry
from tests.support.tiny_pipeline import NAME

ASSETS = [
    "raw_dataset",
    "split_dataset",
    "token_report",
    "baseline_report",
    "finetuned_model",
    "eval_report",
    "registered_version",
]


def test_nothing_is_made_again_when_nothing_has_changed(trained, trained_once, ft):
    again = ft(trained_once, "run", NAME, "--json")
    assert again.exit_code == 0
    assert again.json["made"] == []
    assert again.json["up_to_date"] == ASSETS
    same = ("version", "model_name", "base_loss", "tuned_loss", "verdict", "tokens", "checks")
    assert {key: again.json[key] for key in same} == {key: trained.result[key] for key in same}
    assert _messages(trained_once, again, "training", "evaluate", "base model") == []


def test_an_asset_that_is_up_to_date_still_tells_dagster_its_data_version(trained_once, ft):
    again = ft(trained_once, "run", NAME, "--json", "--select", "finetuned_model")
    with trained_once.instance() as instance:
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey([NAME, "finetuned_model"])), limit=2
        ).records
    versions = {r.asset_materialization.tags["dagster/data_version"] for r in records}
    assert len(records) == 2
    assert versions == {trained_once.artifact("finetuned_model").data_version}
    assert again.json["up_to_date"] == ["finetuned_model"]


@pytest.mark.slow
def test_force_trains_the_same_model_again_which_is_the_same_version(trained_once, ft):
    before = trained_once.artifact("finetuned_model")
    forced = ft(
        trained_once,
        *("run", NAME, "--json", "--force", "--select", "finetuned_model,registered_version"),
    )
    assert forced.exit_code == 0, forced.stderr
    assert forced.json["made"] == ["finetuned_model"]
    after = trained_once.artifact("finetuned_model")
    assert after.manifest.metadata["attempt"] == 1
    assert after.manifest.metadata["fingerprint"] != before.manifest.metadata["fingerprint"]
    assert after.manifest.created_at > before.manifest.created_at
    assert after.data_version == before.data_version
    assert forced.json["version"] == "1.0.0"
    versions = EmbeddedRegistry(path=str(trained_once.home / "registry.db"))
    assert [v.version for v in versions.list_versions("tiny-assistant")] == ["1.0.0"]

    later = ft(trained_once, "run", NAME, "--json")
    assert later.json["made"] == [], "a forced repetition is what later runs compare with"


def test_another_parameter_trains_again_and_only_the_report_about_that_model_counts(
    trained_once, ft
):
    before = trained_once.artifact("finetuned_model")
    changed = ft(
        trained_once,
        *("run", NAME, "--json", "--select", "finetuned_model"),
        *("--set", "training.learning_rate=2e-2"),
    )
    assert changed.exit_code == 0, changed.stderr
    assert changed.json["made"] == ["finetuned_model"]
    after = trained_once.artifact("finetuned_model")
    assert after.manifest.metadata["plan"]["parameters"]["learning_rate"] == 0.02
    assert after.data_version != before.data_version

    alone = ft(trained_once, "run", NAME, "--json", "--select", "registered_version")
    assert alone.exit_code == 1
    assert "report is about another model" in alone.json["error"]
    assert "materialize eval_report first" in alone.json["error"]


def test_changed_data_makes_what_was_made_from_it_stale(trained_once, ft):
    """Dagster marks the assets whose direct inputs have another data version than they used."""
    assert _stale(trained_once) == set()
    trained_once.write_drop("drop-1", start=100)
    select = ("run", NAME, "--json", "--select")

    assert ft(trained_once, *select, "raw_dataset").json["made"] == ["raw_dataset"]
    assert _stale(trained_once) == {"split_dataset"}

    assert ft(trained_once, *select, "split_dataset").json["made"] == ["split_dataset"]
    assert _stale(trained_once) == {
        "token_report",
        "baseline_report",
        "finetuned_model",
        "eval_report",
    }


def test_data_put_back_is_the_old_data_version_and_trains_nothing(trained_once, ft):
    before = trained_once.artifact("raw_dataset").data_version
    for start, asset in ((100, "raw_dataset,split_dataset"), (0, "")):
        trained_once.write_drop("drop-1", start=start)
        select = ["--select", asset] if asset else []
        assert ft(trained_once, "run", NAME, "--json", *select).exit_code == 0
    assert trained_once.artifact("raw_dataset").data_version == before
    result = ft(trained_once, "run", NAME, "--json").json
    assert (result["made"], result["version"]) == ([], "1.0.0")


def test_the_order_of_fields_in_a_row_makes_no_new_data(trained_once, ft):
    file = trained_once.data / "drop-1.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    turned = [
        {"messages": [dict(reversed(turn.items())) for turn in row["messages"]]} for row in rows
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in turned))
    result = ft(trained_once, "run", NAME, "--json", "--select", "raw_dataset,split_dataset").json
    assert result["up_to_date"] == ["raw_dataset", "split_dataset"]


def test_a_run_without_a_partition_takes_the_newest_drop(trained_once, ft):
    trained_once.write_drop("drop-9", start=50).write_drop("drop-10", start=100)
    result = ft(trained_once, "run", NAME, "--json", "--select", "raw_dataset").json
    assert result["partition"] == "drop-10"


def test_drops_do_not_touch_each_other(trained_once, ft):
    first = trained_once.artifact("raw_dataset")
    trained_once.write_drop("drop-2", start=100)
    run = ("run", NAME, "--json", "--partition", "drop-2", "--select", "raw_dataset,split_dataset")
    assert ft(trained_once, *run).json["made"] == ["raw_dataset", "split_dataset"]
    assert trained_once.artifact("raw_dataset") == first
    assert trained_once.artifact("raw_dataset", "drop-2").data_version != first.data_version


def test_selected_assets_are_all_that_is_made(tiny, ft):
    run = ft(tiny, "run", NAME, "--json", "--select", "raw_dataset, split_dataset")
    assert run.json["made"] == ["raw_dataset", "split_dataset"]
    assert tiny.artifacts() == ["raw_dataset", "split_dataset"]
    with tiny.instance() as instance:
        (record,) = instance.get_run_records()
    assert record.dagster_run.asset_selection == {
        dg.AssetKey([NAME, "raw_dataset"]),
        dg.AssetKey([NAME, "split_dataset"]),
    }


def test_an_asset_whose_input_was_never_made_says_which(tiny, ft):
    run = ft(tiny, "run", NAME, "--json", "--select", "finetuned_model")
    assert run.exit_code == 1
    assert "tiny/split_dataset, partition drop-1 has no artifact" in run.json["error"]
    assert "materialize it first" in run.json["error"]


def _messages(pipeline, call, *beginnings):
    with pipeline.instance() as instance:
        return [
            entry.user_message
            for entry in instance.all_logs(call.json["run_id"])
            if entry.dagster_event is None and entry.user_message.startswith(beginnings)
        ]


def _stale(pipeline):
    """The assets of the drop that the UI shows as out of date."""
    definitions = dg.Definitions.merge(
        dg.Definitions(resources=default_resources()),
        pipeline_definitions(load_pipeline(pipeline.file)),
    )
    graph = definitions.resolve_asset_graph()
    with pipeline.instance() as instance:
        resolver = CachingStaleStatusResolver(
            instance, graph, loading_context=LoadingContextForTest(instance)
        )
        return {
            asset
            for asset in ASSETS
            if resolver.get_status(dg.AssetKey([NAME, asset]), "drop-1") != StaleStatus.FRESH
        }
