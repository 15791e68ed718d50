"""A backfill over drops of a pipeline with recipes is a sweep: each recipe trains on each drop."""

from __future__ import annotations

import pytest

from resources.registry import EmbeddedRegistry
from tests.support.tiny_pipeline import NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_two_drops_and_two_recipes(tiny, ft):
    tiny.write(
        {
            "recipes": {"gentle": {"learning_rate": 0.002}},
            "promotion": {"against_champion": "not_worse", "primary_margin": 9, "min_samples": 3},
        }
    )
    tiny.write_drop("drop-2", start=40)

    call = ft(tiny, "backfill", NAME, "--json", "--all")

    assert call.exit_code == 0, call.stderr
    assert {drop["drop"]: drop["result"] for drop in call.json["drops"]} == {
        "drop-1": "made",
        "drop-2": "made",
    }
    rows = ft(tiny, "leaderboard", NAME, "--json").json["leaderboard"]
    assert {(row["recipe"], row["drop"], row["verdict"]) for row in rows} == {
        (recipe, drop, "won") for recipe in ("default", "gentle") for drop in ("drop-1", "drop-2")
    }
    registry = EmbeddedRegistry(path=str(tiny.home / "registry.db"))
    for model in ("tiny-assistant", "tiny-assistant-gentle"):
        versions = {version.version: version for version in registry.list_versions(model)}
        assert {name: version.properties["partition"] for name, version in versions.items()} == {
            "1.0.0": "drop-1",
            "1.0.1": "drop-2",
        }
        assert versions["1.0.1"].stage == "champion"
