"""``ft diff``: two versions of the tiny pipeline, and the page of the second one in the UI."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from tests.conftest import Trained
from tests.support.tiny_pipeline import MODEL_NAME, NAME, TinyPipeline

pytestmark = pytest.mark.slow

FIRST, SECOND = f"{MODEL_NAME}:1.0.0", f"{MODEL_NAME}:1.0.1"


@pytest.fixture(scope="module")
def two_versions(trained: Trained, tmp_path_factory) -> TinyPipeline:
    """A larger drop at twice the learning rate has replaced the first champion."""
    pipeline = trained.pipeline.clone(tmp_path_factory.mktemp("diff") / "tiny")
    pipeline.write_drop("drop-2", rows=80).write(
        {
            # Where both versions found it: the path is recorded.
            "training": {
                "learning_rate": 0.02,
                "base_model": str(trained.pipeline.root / "base-model"),
            },
            "promotion": {"against_champion": "not_worse", "primary_margin": 9},
        }
    )
    call = pipeline.ft("run", NAME, "--json", "--partition", "drop-2")
    assert call.exit_code == 0, call.stderr
    return pipeline


def test_drop_rows_and_learning_rate_stand_beside_the_loss(two_versions, ft):
    call = ft(two_versions, "diff", FIRST, SECOND, "--json")
    assert call.exit_code == 0, call.stderr
    found = call.json

    assert (found["old"]["drop"], found["new"]["drop"]) == ("drop-1", "drop-2")
    old, new = (
        two_versions.artifact("split_dataset", drop).manifest.metadata["report"]
        for drop in ("drop-1", "drop-2")
    )
    more = new["train_rows"] - old["train_rows"]
    assert found["changed"].startswith(f"drop-2 instead of drop-1, {more} rows more;")
    assert "learning_rate 0.01 -> 0.02" in found["changed"]
    # The first drop's rows are all in the second, and no row changes sides.
    rows = found["data"]["rows"]
    assert (rows["moved_to_training"], rows["moved_to_held_out"]) == (0, 0)
    assert rows["train_added"] - rows["train_removed"] == more
    assert found["base_model"] == []
    assert found["unknown"] == []
    loss = found["metrics"][0]
    assert loss["metric"] == "held_out/loss"
    assert (loss["comparable"], loss["why_not"]) == (False, "other held-out rows")
    beside = loss["same_documents"]
    report: Any = two_versions.artifact("eval_report", "drop-2").manifest.metadata["summary"]
    scores = report["models"]
    assert beside["old"] == scores["champion"]["held_out"]["loss"]
    assert beside["new"] == scores["tuned"]["held_out"]["loss"]
    assert beside["low"] < beside["new"] - beside["old"] < beside["high"]


def test_without_a_second_version_it_is_the_champion_before(two_versions, ft):
    both = ft(two_versions, "diff", FIRST, SECOND, "--json").json
    assert ft(two_versions, "diff", SECOND, "--json").json == both
    assert ft(two_versions, "diff", MODEL_NAME, "--json").json == both  # the champion
    text = ft(two_versions, "diff", MODEL_NAME, COLUMNS="80").stdout
    assert both["changed"].split(";")[0] in " ".join(text.split())
    assert "training.learning_rate" in text


def test_a_first_version_has_nothing_to_be_compared_with(two_versions, ft):
    call = ft(two_versions, "diff", FIRST, "--json")
    assert call.exit_code == 1
    assert "name a second version" in call.json["error"]


def test_the_page_of_the_second_version_shows_what_changed_since_the_champion(two_versions, ft):
    with two_versions.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey([NAME, "registered_version"]))
        assert event is not None
        materialized = event.asset_materialization
        assert materialized is not None
        run = instance.get_run_by_id(event.run_id)
    changed = ft(two_versions, "diff", SECOND, "--json").json["changed"]
    metadata = materialized.metadata
    assert metadata["changed"].value == f"since {MODEL_NAME} 1.0.0: {changed}"
    table = metadata["changed_since_champion"]
    assert isinstance(table, dg.TableMetadataValue)
    rows = {str(record.data["what"]): record.data for record in table.records}
    assert (rows["training.learning_rate"]["before"], rows["training.learning_rate"]["now"]) == (
        "0.01",
        "0.02",
    )
    # The run itself is found by what it made and what that took; a CPU costs no GPU hours.
    assert run is not None
    asked = ("ft/drop", "ft/recipe", "ft/gpu_hours", "ft/cost")
    assert [run.tags.get(name) for name in asked] == ["drop-2", "default", "0", None]


def test_the_page_of_the_first_version_says_that_there_was_none(trained):
    with trained.pipeline.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey([NAME, "registered_version"]))
        assert event is not None
        assert event.asset_materialization is not None
        said = event.asset_materialization.metadata
    assert "no champion to compare it with" in str(said["changed"].value)
    assert "changed_since_champion" not in said
