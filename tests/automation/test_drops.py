"""Data drops: which pipelines have them, and which one is the newest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import dagster as dg
import pytest

from ft_assets.automation.partitions import drops_of, newest_drop
from ft_assets.config import load_pipeline
from resources.errors import UserError
from resources.sources import Sources


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dataclass(frozen=True)
class _Place:
    pipeline: object
    sources: Sources


@pytest.fixture
def place(tiny):
    return _Place(load_pipeline(tiny.file), Sources(data_roots=[str(tiny.data)]))


def _elsewhere(place, uri):
    spec = place.pipeline.spec
    dataset = spec.dataset.model_copy(update={"uri": uri})
    return replace(place.pipeline, spec=spec.model_copy(update={"dataset": dataset}))


def test_a_uri_with_a_placeholder_makes_drops(place):
    drops = drops_of(place.pipeline)
    assert isinstance(drops, dg.DynamicPartitionsDefinition)
    assert drops.name == "tiny_drops"


def test_a_uri_without_one_makes_none(place):
    assert drops_of(_elsewhere(place, "/data/all.jsonl")) is None


def test_the_newest_drop_is_the_last_in_the_order_that_people_count_in(tiny, place, instance):
    for name in ("drop-2", "drop-10", "drop-9"):
        tiny.write_drop(name, rows=1)
    assert newest_drop(place.pipeline, place.sources, instance) == "drop-10"


def test_dates_are_in_their_order(tiny, place, instance):
    (tiny.data / "drop-1.jsonl").unlink()
    for name in ("2026-01-02", "2025-12-31", "2026-01-10"):
        tiny.write_drop(name, rows=1)
    assert newest_drop(place.pipeline, place.sources, instance) == "2026-01-10"


def test_files_that_are_no_drops_are_passed_over(tiny, place, instance):
    (tiny.data / "zzz.txt").write_text("")
    (tiny.data / ".zzz.jsonl").write_text("")
    assert newest_drop(place.pipeline, place.sources, instance) == "drop-1"


def test_where_nothing_can_be_listed_the_drops_added_by_hand_count(place, instance):
    pipeline = _elsewhere(place, "https://example.com/{partition}.jsonl")
    instance.add_dynamic_partitions("tiny_drops", ["drop-10", "drop-9"])
    assert newest_drop(pipeline, place.sources, instance) == "drop-10"


def test_a_drop_that_is_gone_from_a_folder_is_not_the_newest(tiny, place, instance):
    instance.add_dynamic_partitions("tiny_drops", ["drop-99"])
    assert newest_drop(place.pipeline, place.sources, instance) == "drop-1"
    (tiny.data / "drop-1.jsonl").unlink()
    with pytest.raises(UserError, match="has no data drop yet"):
        newest_drop(place.pipeline, place.sources, instance)


def test_without_any_drop_the_message_says_where_one_belongs(place, instance):
    pipeline = _elsewhere(place, "https://example.com/{partition}.jsonl")
    with pytest.raises(UserError, match=r"nothing matches https://example\.com/\{partition\}"):
        newest_drop(pipeline, place.sources, instance)
