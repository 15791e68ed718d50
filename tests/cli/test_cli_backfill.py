"""``ft run`` on several drops, ``ft backfill`` and ``ft status``."""

from __future__ import annotations

import pytest

from tests.support.tiny_pipeline import NAME

DATA = ("--select", "raw_dataset,split_dataset")


@pytest.fixture
def three(tiny):
    """Three drops, of which the second holds no rows that can be read."""
    tiny.write_drop("drop-2", start=40).write_drop("drop-3", start=80)
    (tiny.data / "drop-2.jsonl").write_text('{"messages": 3}\n')
    return tiny


def _results(call):
    return {drop["drop"]: drop["result"] for drop in call.json["drops"]}


def test_a_bad_drop_fails_alone_and_unchanged_ones_cost_nothing_when_repeated(three, ft):
    run = ("run", NAME, "--json", "--partition", "drop-1,drop-2,drop-3", *DATA)
    first = ft(three, *run)
    assert first.exit_code == 1
    assert _results(first) == {"drop-1": "made", "drop-2": "failed", "drop-3": "made"}
    assert first.json["error"] == "1 of 3 drops were not made: drop-2"
    assert "drop-2.jsonl, row 1: 'messages' is not a list" in first.json["drops"][1]["why"]
    with three.instance() as instance:
        assert sorted(instance.get_dynamic_partitions(f"{NAME}_drops")) == ["drop-1", "drop-3"]
        runs = {run.run_id for run in instance.get_runs()}
        assert runs == {drop["run_id"] for drop in first.json["drops"]}
        assert len(runs) == 3

    again = ft(three, *run)
    assert _results(again) == {"drop-1": "up to date", "drop-2": "failed", "drop-3": "up to date"}
    drop = again.json["drops"][0]
    assert (drop["made"], drop["why"]) == ([], "nothing has changed")
    assert drop["up_to_date"] == ["raw_dataset", "split_dataset"]


def test_a_backfill_takes_the_drops_that_are_missing_or_stale(trained_once, ft):
    nothing = ft(trained_once, "backfill", NAME, "--json", *DATA)
    assert (nothing.exit_code, nothing.json["drops"]) == (0, [])

    trained_once.write_drop("drop-2", start=40)
    new = ft(trained_once, "backfill", NAME, "--json", *DATA)
    assert _results(new) == {"drop-2": "made"}

    trained_once.write_drop("drop-1", start=200)
    ft(trained_once, "run", NAME, "--partition", "drop-1", "--select", "raw_dataset")
    stale = ft(trained_once, "backfill", NAME, "--json", "--stale", *DATA)
    assert [(d["drop"], d["made"]) for d in stale.json["drops"]] == [("drop-1", ["split_dataset"])]


def test_a_backfill_of_all_drops_trains_nothing_twice(trained_once, ft):
    call = ft(trained_once, "backfill", NAME, "--json", "--all")
    assert call.exit_code == 0, call.stderr
    (drop,) = call.json["drops"]
    assert (drop["result"], drop["made"]) == ("up to date", [])
    assert drop["versions"] == ["tiny-assistant 1.0.0 (champion)"]
    table = ft(trained_once, "backfill", NAME, "--drops", "drop-1", *DATA, COLUMNS="200").stdout
    assert "drop-1" in table
    assert "nothing has changed" in table


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("backfill", NAME, "--drops", "drop-7,drop-1"), "--drops drop-7: there is no such drop"),
        (("backfill", NAME, "--all", "--select", "nothing"), "there is no such asset"),
        (("backfill", NAME, "--all", "--recipe", "wide"), "has no such recipe"),
        (("run", NAME, "--partition", "drop-1,../x"), "partition key '../x'"),
        (("status", NAME, "--drops", "drop-7"), "--drops drop-7: there is no such drop"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(tiny, ft, arguments, expected):
    call = ft(tiny, *arguments, "--json")
    assert call.exit_code == 1
    assert expected in call.json["error"]
    with tiny.instance() as instance:
        assert instance.get_runs_count() == 0
        assert instance.get_dynamic_partitions(f"{NAME}_drops") == []


def test_a_pipeline_without_drops_is_not_backfilled(tiny, ft):
    tiny.write({"dataset": {"uri": str(tiny.data / "drop-1.jsonl")}})
    for command in (("backfill", NAME), ("run", NAME, "--partition", "drop-1,drop-2")):
        call = ft(tiny, *command, "--json")
        assert call.exit_code == 1
        assert "has no drops" in call.json["error"]


def test_status_has_the_state_of_every_asset_of_every_drop_and_the_champion(trained_once, ft):
    trained_once.write_drop("drop-2", start=40)
    result = ft(trained_once, "status", NAME, "--json").json
    assert result["champions"] == [
        {"model": "tiny-assistant", "version": "1.0.0", "drop": "drop-1"}
    ]
    assert (result["drops_known"], result["drops_with_something_missing"]) == (2, 1)
    states = {
        drop["drop"]: {asset["state"] for asset in drop["assets"].values()}
        for drop in result["drops"]
    }
    assert states == {"drop-1": {"fresh"}, "drop-2": {"missing"}}


def test_status_says_why_an_asset_is_stale(trained_once, ft):
    trained_once.write_drop("drop-1", start=200)
    ft(trained_once, "run", NAME, "--partition", "drop-1", "--select", "raw_dataset")
    text = ft(trained_once, "status", NAME, COLUMNS="200").stdout
    assert "split_dataset: raw_dataset has a new data version" in text
    assert "champion of tiny-assistant: 1.0.0 (drop drop-1)" in text
