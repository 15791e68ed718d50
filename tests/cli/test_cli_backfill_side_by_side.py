"""Drops that Dagster's daemon runs side by side: each that wins is registered, in some order."""

from __future__ import annotations

import dagster as dg
import pytest

from resources.registry import EmbeddedRegistry
from tests.support.daemon import daemon
from tests.support.tiny_pipeline import NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DROPS = ("drop-1", "drop-2", "drop-3")


@pytest.fixture
def three(tiny):
    for number, drop in enumerate(DROPS):
        tiny.write_drop(drop, start=40 * number)
    return tiny


def test_each_drop_gets_its_version_although_the_champion_moves_meanwhile(three, ft):
    three.write(
        {"promotion": {"against_champion": "not_worse", "primary_margin": 9, "min_samples": 3}}
    )
    ft(three, "check")  # which makes the instance
    with daemon(three):
        call = ft(three, "backfill", NAME, "--json", "--all")

    assert call.json["through"] == "daemon"
    assert {drop["drop"]: drop["result"] for drop in call.json["drops"]} == dict.fromkeys(
        DROPS, "made"
    ), call.json
    registry = EmbeddedRegistry(path=str(three.home / "registry.db"))
    versions = registry.list_versions("tiny-assistant")
    assert {version.version for version in versions} == {"1.0.0", "1.0.1", "1.0.2"}
    assert {version.properties["partition"] for version in versions} == set(DROPS)
    assert [version.stage for version in versions].count("champion") == 1
    with three.instance() as instance:
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        for run in failed:
            assert "dagster/auto_retry_run_id" in run.tags, "it came again"


def test_accumulating_drops_wait_for_each_other_and_run_here(three, ft):
    three.write({"dataset": {"accumulate": True}})
    ft(three, "check")
    with daemon(three):
        call = ft(
            three, "backfill", NAME, "--json", "--all", "--select", "raw_dataset,split_dataset"
        )
    assert call.exit_code == 0, call.stderr
    assert call.json["through"] == "here"
