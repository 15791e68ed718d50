"""Changes of accumulated data: which drops they make pending again."""

from __future__ import annotations

import dagster as dg

from ft_assets.automation.new_data.accumulate import (
    Changes,
    read_changes,
    write_changes,
)
from ft_assets.automation.new_data.ledger import Asked

DROPS = ("drop-1", "drop-2", "drop-9", "drop-10")


def _after(*asked: str) -> Changes:
    """The changes when these drops are asked for, each with content of its own every time."""
    changes = Changes()
    for number, drop in enumerate(asked):
        changes = changes.after_asking(drop, f"own {number}", None)
    return changes


def _tokens(changes: Changes) -> dict[str, str]:
    return {drop: changes.token(drop, "own") for drop in DROPS}


def _moved(before: Changes, after: Changes) -> list[str]:
    one, two = _tokens(before), _tokens(after)
    return [drop for drop in DROPS if one[drop] != two[drop]]


def test_drops_that_come_in_order_change_nothing_that_was_there():
    assert _tokens(_after(*DROPS)) == dict.fromkeys(DROPS, "own")


def test_a_drop_moves_the_drops_behind_it_and_not_those_before():
    before = _after(*DROPS)
    assert _moved(before, before.after_asking("drop-2", "new", None)) == ["drop-9", "drop-10"]


def test_each_further_change_moves_them_again():
    once = _after(*DROPS, "drop-9")
    assert _moved(once, once.after_asking("drop-1", "new", None)) == ["drop-2", "drop-9", "drop-10"]
    twice = once.after_asking("drop-1", "new", None)
    assert _moved(twice, twice.after_asking("drop-9", "newer", None)) == ["drop-10"]


def test_a_drop_that_runs_again_because_of_one_before_it_moves_nothing():
    changes = _after(*DROPS, "drop-1")
    for number, drop in enumerate(DROPS[1:-1], start=1):
        before = Asked(1, f"own {number}", seen=True)
        assert changes.after_asking(drop, f"own {number}", before) == changes


def test_places_of_change_are_bounded_and_no_drop_is_missed():
    drops = [f"drop-{number}" for number in range(70)]
    changes = _after(*drops)
    for number in range(60):
        before = {drop: changes.token(drop, "own") for drop in drops}
        changes = changes.after_asking(f"drop-{number}", f"new {number}", None)
        after = {drop: changes.token(drop, "own") for drop in drops}
        assert all(before[drop] != after[drop] for drop in drops[number + 1 :])
    assert len(changes.places) <= 50


def test_what_was_let_through_is_kept_until_it_waits_no_more():
    changes = _after("drop-1").after_letting_through({"drop-2": "a", "drop-9": "b"}, [])
    changes = changes.after_letting_through({"drop-9": "b"}, ["drop-2"])
    assert changes.through == {"drop-9": "b"}
    assert changes.after_letting_through({}, []) == changes
    assert changes.after_letting_through({}, ["drop-9"]).through == {}


def test_what_was_let_through_is_bounded():
    drops = {f"drop-{number}": "a" for number in range(300)}
    assert len(Changes().after_letting_through(drops, []).through) == 200


def test_of_two_looks_that_write_at_the_same_time_one_is_told_that_it_came_second():
    with dg.DagsterInstance.ephemeral() as instance:
        storage = instance.run_storage
        before = read_changes(storage, "p")
        one = before.after_asking("drop-1", "own", None)
        other = before.after_asking("drop-2", "own", None)
        assert write_changes(storage, "p", one)
        assert not write_changes(storage, "p", other)
        assert read_changes(storage, "p").newest == one.newest == "drop-1"
