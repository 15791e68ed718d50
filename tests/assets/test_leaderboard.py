"""The leaderboard: recipes and drops beside each other, from the reports of real runs."""

from __future__ import annotations

import csv
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ft_assets.assets.leaderboard import CHART_FILE, TABLE_FILE
from ft_assets.assets.standings import Standing, curves, standings
from ft_assets.config import Pipeline, load_pipeline
from tests.conftest import Trained
from tests.support.tiny_pipeline import NAME, TinyPipeline


def standing(**values: Any) -> Standing:
    plain: dict[str, Any] = {
        "recipe": "default",
        "drop": "drop-1",
        "event": 1,
        "report": "0" * 64,
        "model": "1" * 64,
        "verdict": "won",
        "reason": "it is better",
        "base_loss": 2.0,
        "loss": 1.0,
        "gain": 0.5,
        "scores": {},
        "trained_tokens": 10,
        "seconds": 1.0,
    }
    return Standing(**{**plain, **values})


def test_curves_follow_the_drops_in_natural_order():
    rows = [
        standing(drop="drop-10", gain=0.3),
        standing(drop="drop-9", gain=0.2),
        standing(drop="drop-9", recipe="fast", gain=None),
        standing(drop="drop-10", recipe="fast", gain=0.1),
    ]
    assert curves(rows) == {"default": [(1, 20.0), (2, 30.0)], "fast": [(2, 10.0)]}


class TestItsAutomationCondition:
    """What the automation sensor of the UI goes by, evaluated by Dagster itself."""

    @pytest.fixture
    def definitions(self, tiny: TinyPipeline, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
        tiny.write({"recipes": {"idle": {"learning_rate": 1e-30}}})
        for name, value in tiny.dagster_environment.items():
            monkeypatch.setenv(name, value)
        from ft_assets.code_location import build_defs

        return build_defs()

    @pytest.fixture
    def memory(self, definitions: dg.Definitions) -> Generator[dg.DagsterInstance]:
        """An instance that has seen two drops."""
        with dg.DagsterInstance.ephemeral() as opened:
            drops = definitions.resolve_assets_def(dg.AssetKey([NAME, "eval_report"]))
            assert isinstance(drops.partitions_def, dg.DynamicPartitionsDefinition)
            assert drops.partitions_def.name is not None
            opened.add_dynamic_partitions(drops.partitions_def.name, ["drop-1", "drop-2"])
            yield opened

    def test_each_new_report_asks_for_it_once(
        self, definitions: dg.Definitions, memory: dg.DagsterInstance
    ):
        cursor: Any = None

        def asked() -> int:
            nonlocal cursor
            looked = dg.evaluate_automation_conditions(definitions, memory, cursor=cursor)
            cursor = looked.cursor
            return looked.get_num_requested(dg.AssetKey([NAME, "leaderboard"]))

        def reported(drop: str, *recipe: str) -> None:
            key = dg.AssetKey([NAME, *recipe, "eval_report"])
            memory.report_runless_asset_event(dg.AssetMaterialization(key, partition=drop))

        assert asked() == 0
        for drop, recipe in (("drop-1", ()), ("drop-1", ("idle",)), ("drop-2", ())):
            reported(drop, *recipe)
            assert (asked(), asked()) == (1, 0)
        memory.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey([NAME, "leaderboard"]))
        )
        assert asked() == 0


@pytest.fixture(scope="module")
def swept(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> TinyPipeline:
    """Beside the training block a recipe whose steps are too small to change a weight."""
    tiny = trained.pipeline.clone(tmp_path_factory.mktemp("swept") / "tiny")
    tiny.write({"recipes": {"idle": {"learning_rate": 1e-30}}})
    done = tiny.ft("run", NAME, "--partition", "drop-1", "--recipe", "idle", "--json")
    assert done.exit_code == 1, done.stdout  # stopped by its checks
    assert done.json["recipes"].keys() == {"idle"}
    return tiny


@pytest.fixture
def instance(swept: TinyPipeline) -> Generator[dg.DagsterInstance]:
    with swept.instance() as opened:
        yield opened


@pytest.fixture
def pipeline(swept: TinyPipeline) -> Pipeline:
    return load_pipeline(swept.file)


@pytest.mark.slow
class TestARecipeBesideTheTrainingBlock:
    def test_each_has_its_own_model_and_report_of_the_same_data(self, swept: TinyPipeline):
        default = swept.store.open([NAME, "finetuned_model"], "drop-1")
        idle = swept.store.open([NAME, "idle", "finetuned_model"], "drop-1")
        assert default.data_version != idle.data_version
        inputs = [
            next(
                one["data_version"]
                for one in model.manifest.metadata["provenance"]["inputs"]  # type: ignore[index]
                if one["asset"] == f"{NAME}/split_dataset"
            )
            for model in (default, idle)
        ]
        assert inputs[0] == inputs[1]

    def test_the_winner_is_registered_and_the_loser_is_not(self, swept: TinyPipeline):
        assert swept.store.find([NAME, "registered_version"], "drop-1") is not None
        assert swept.store.find([NAME, "idle", "registered_version"], "drop-1") is None

    def test_the_leaderboard_has_both_the_winner_first(
        self, swept: TinyPipeline, pipeline: Pipeline, instance: dg.DagsterInstance
    ):
        rows = standings(pipeline, swept.store, instance, {})
        assert [(row.recipe, row.drop, row.verdict) for row in rows] == [
            ("default", "drop-1", "won"),
            ("idle", "drop-1", "lost"),
        ]
        first, second = rows
        assert first.base_loss == second.base_loss
        assert first.gain is not None
        assert second.gain is not None
        assert first.gain > second.gain

    def test_reports_that_dagster_has_heard_nothing_new_of_are_not_read_again(
        self, swept: TinyPipeline, pipeline: Pipeline, instance: dg.DagsterInstance
    ):
        rows = {
            (row.recipe, row.drop): row for row in standings(pipeline, swept.store, instance, {})
        }
        told = {place: row.model_copy(update={"reason": "told"}) for place, row in rows.items()}
        again = standings(pipeline, swept.store, instance, told)
        assert {row.reason for row in again} == {"told"}
        older = {p: row.model_copy(update={"event": row.event - 1}) for p, row in told.items()}
        assert "told" not in {
            row.reason for row in standings(pipeline, swept.store, instance, older)
        }

    def test_the_command_prints_what_the_asset_shows(self, swept: TinyPipeline, tmp_path: Path):
        said = swept.ft("leaderboard", NAME, "--json").json
        assert [row["recipe"] for row in said["leaderboard"]] == ["default", "idle"]
        assert said["leaderboard"][0]["champion"].endswith(" 1.0.0")
        assert said["leaderboard"][1]["champion"] == ""

    def test_the_asset_shows_a_table_and_keeps_all_of_it_as_a_file(
        self,
        swept: TinyPipeline,
        pipeline: Pipeline,
        instance: dg.DagsterInstance,
        monkeypatch: pytest.MonkeyPatch,
    ):
        for name, value in swept.dagster_environment.items():
            monkeypatch.setenv(name, value)
        from ft_assets.code_location import default_resources
        from ft_assets.pipeline import pipeline_definitions

        assets: Any = pipeline_definitions(pipeline).assets
        key = dg.AssetKey([NAME, "leaderboard"])
        results = [
            dg.materialize(
                assets,
                selection=[key],
                instance=instance,
                resources=default_resources(),
            )
            for _ in range(2)
        ]
        pages = [
            done.asset_materializations_for_node(f"{NAME}__leaderboard")[0].metadata
            for done in results
        ]
        records: Any = pages[0]["leaderboard"].records
        assert [record.data["recipe"] for record in records] == ["default", "idle"]
        assert str(pages[0]["best"].value).startswith("default on drop-1: won")
        assert [page["up_to_date"].value for page in pages] == [False, True]
        artifact = swept.store.open([NAME, "leaderboard"], None)
        with artifact.file(TABLE_FILE).open(newline="") as file:
            assert [row["recipe"] for row in csv.DictReader(file)] == ["default", "idle"]
        assert artifact.file(CHART_FILE).read_text().startswith("<svg")
