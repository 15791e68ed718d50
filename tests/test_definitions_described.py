"""Whatever Dagster shows of a pipeline says what it is: descriptions, kinds, owners and tags."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.config import load_pipeline
from ft_assets.pipeline import pipeline_definitions
from tests.support.tiny_pipeline import NAME, TinyPipeline

OWNERS = ["team:language", "someone@example.com"]
LEAST_WORDS = 4
"""A name said again in one word describes nothing."""


@pytest.fixture
def definitions(tiny: TinyPipeline) -> dg.Definitions:
    """A pipeline with all that a pipeline can have: recipes, a schedule, a greatest age."""
    tiny.write({"automation": {"schedule": "0 6 * * 1", "max_age_hours": 24}})
    with tiny.file.open("a") as file:
        file.write("recipes:\n  slow: {learning_rate: 0.001}\n")
        file.write(f"owners: [{', '.join(OWNERS)}]\n")
    return pipeline_definitions(load_pipeline(tiny.file))


@pytest.fixture
def specs(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return [spec for asset in definitions.assets or () for spec in asset.specs]


def described(description: str | None) -> bool:
    return description is not None and len(description.split()) >= LEAST_WORDS


def test_every_asset_is_described(specs):
    assert len(specs) > 7
    assert [spec.key.path for spec in specs if not described(spec.description)] == []


def test_every_check_is_described(definitions):
    checks = [spec for asset in definitions.assets or () for spec in asset.check_specs]
    assert checks
    assert [str(check.key) for check in checks if not described(check.description)] == []


def test_every_job_sensor_and_schedule_is_described(definitions):
    found = [
        *(definitions.jobs or ()),
        *(definitions.sensors or ()),
        *(definitions.schedules or ()),
    ]
    assert {type(one).__name__ for one in found} >= {"SensorDefinition", "ScheduleDefinition"}
    assert [one.name for one in found if not described(one.description)] == []


def test_the_sensors_of_a_cluster_are_described(monkeypatch):
    from ft_assets.cluster.reaper import reaper_sensors

    monkeypatch.setenv("FT_EXECUTOR", "k8s")
    found = reaper_sensors()
    assert found
    assert [one.name for one in found if not described(one.description)] == []


def test_every_asset_has_the_owners_of_the_pipeline_file(specs):
    assert {tuple(spec.owners) for spec in specs} == {tuple(OWNERS)}


def test_every_asset_says_of_what_kind_it_is(specs):
    assert [spec.key.path for spec in specs if not spec.kinds] == []


def test_every_asset_can_be_found_by_its_pipeline_and_by_the_tags_of_the_file(specs):
    for spec in specs:
        assert {"pipeline": NAME, "purpose": "test"}.items() <= spec.tags.items(), spec.key.path


def test_the_assets_of_a_recipe_can_be_found_by_its_name(specs):
    named = {spec.key.path[-1] for spec in specs if spec.tags.get("recipe") == "slow"}
    assert named == {"token_report", "finetuned_model", "eval_report", "registered_version"}
