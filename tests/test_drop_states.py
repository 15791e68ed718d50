"""A changed drop makes stale what was made from it, and nothing of any other drop."""

from __future__ import annotations

import pytest

from ft_assets.code_location import default_resources
from ft_assets.config import load_pipeline
from ft_assets.drop_states import DropStates, known_drops
from tests.support.tiny_pipeline import NAME

DATA = ("--select", "raw_dataset,split_dataset")
FROM_SPLIT = {"token_report", "baseline_report", "finetuned_model", "eval_report"}


@pytest.fixture
def two_drops(trained_once, ft):
    """One drop of which everything is made, and one of which the data is."""
    trained_once.write_drop("drop-2", start=100)
    assert ft(trained_once, "run", NAME, "--json", "--partition", "drop-2", *DATA).exit_code == 0
    return trained_once


def _run(pipeline, ft, *arguments):
    call = ft(pipeline, "run", NAME, "--json", "--partition", "drop-1", *arguments)
    assert call.exit_code == 0, call.stderr
    return call.json


def _states(pipeline, drop):
    with pipeline.instance() as instance:
        return DropStates(load_pipeline(pipeline.file), instance).of(drop)


def _in_state(pipeline, drop, state):
    return {name for name, found in _states(pipeline, drop).items() if found.state == state}


def test_what_was_made_is_fresh_and_what_was_not_is_missing(two_drops):
    assert set(_states(two_drops, "drop-1")) == _in_state(two_drops, "drop-1", "fresh")
    assert _in_state(two_drops, "drop-2", "fresh") == {"raw_dataset", "split_dataset"}
    assert _in_state(two_drops, "drop-2", "missing") == FROM_SPLIT | {"registered_version"}


def test_a_changed_drop_makes_exactly_its_downstream_stale(two_drops, ft):
    """Step by step, as Dagster has it: an asset is stale when a direct input is another one."""
    other = _states(two_drops, "drop-2")
    two_drops.write_drop("drop-1", start=200)

    assert _run(two_drops, ft, "--select", "raw_dataset")["made"] == ["raw_dataset"]
    assert _in_state(two_drops, "drop-1", "stale") == {"split_dataset"}
    (cause,) = _states(two_drops, "drop-1")["split_dataset"].causes
    assert cause == "raw_dataset has a new data version"

    assert _run(two_drops, ft, "--select", "split_dataset")["made"] == ["split_dataset"]
    assert _in_state(two_drops, "drop-1", "stale") == FROM_SPLIT
    assert _in_state(two_drops, "drop-1", "missing") == set()
    assert _states(two_drops, "drop-2") == other


def test_a_drop_put_back_as_it_was_makes_nothing_stale(two_drops, ft):
    for start in (200, 0):
        two_drops.write_drop("drop-1", start=start)
        _run(two_drops, ft, "--select", "raw_dataset")
    assert _in_state(two_drops, "drop-1", "stale") == set()


def test_a_run_with_unchanged_inputs_leaves_all_fresh_and_makes_nothing(two_drops, ft):
    before = _states(two_drops, "drop-1")
    again = _run(two_drops, ft)
    assert again["made"] == []
    assert set(again["up_to_date"]) == set(before)
    assert _states(two_drops, "drop-1") == before


def test_a_drop_is_missing_or_stale_as_soon_as_one_asset_is(two_drops, ft):
    two_drops.write_drop("drop-1", start=200)
    _run(two_drops, ft, "--select", "raw_dataset")
    with two_drops.instance() as instance:
        states = DropStates(load_pipeline(two_drops.file), instance)
        assert [states.is_missing(drop) for drop in ("drop-1", "drop-2")] == [False, True]
        assert [states.is_stale(drop) for drop in ("drop-1", "drop-2")] == [True, False]


def test_drops_are_those_at_the_source_and_those_that_were_added(tiny):
    tiny.write_drop("drop-10").write_drop("drop-9")
    sources = default_resources()["sources"].model_copy(update={"data_roots": [str(tiny.data)]})
    tiny.ft("check")  # which makes the instance
    with tiny.instance() as instance:
        instance.add_dynamic_partitions(f"{NAME}_drops", ["drop-2"])
        assert known_drops(load_pipeline(tiny.file), sources, instance) == [
            "drop-1",
            "drop-2",
            "drop-9",
            "drop-10",
        ]


def test_a_pipeline_without_drops_has_one_state_per_asset(tiny):
    tiny.write({"dataset": {"uri": str(tiny.data / "drop-1.jsonl")}})
    tiny.ft("check")
    states = _states(tiny, None)
    assert set(states) >= {"raw_dataset", *FROM_SPLIT}
    assert {state.state for state in states.values()} == {"missing"}
