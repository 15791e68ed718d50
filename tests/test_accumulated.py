"""Where drops add up, a changed drop makes the splits of those after it stale, and no other."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ft_assets.accumulated import TO_MAKE_AGAIN, digests_up_to
from ft_assets.config import load_pipeline
from ft_assets.drop_states import DropStates
from tests.support.tiny_pipeline import NAME

DATA = ("--select", "raw_dataset,split_dataset")
DROPS = ("drop-1", "drop-2", "drop-10")
RAW = dg.AssetKey([NAME, "raw_dataset"])


def run(pipeline, ft, drop, select="raw_dataset,split_dataset"):
    call = ft(pipeline, "run", NAME, "--json", "--partition", drop, "--select", select)
    assert call.exit_code == 0, call.stderr


def change(pipeline, ft, drop, start=250):
    """Bring other rows of a drop, and have its raw dataset made again, and no split."""
    run(pipeline.write_drop(drop, start=start), ft, drop, "raw_dataset")


def made_again(pipeline, ft):
    """The drops that ``ft backfill --stale`` runs."""
    call = ft(pipeline, "backfill", NAME, "--stale", "--here", "--json", *DATA)
    assert call.exit_code == 0, call.stderr
    return [one["drop"] for one in call.json["drops"]]


def behind(pipeline, drop):
    """What the page of a drop's raw dataset says is to be made again; None where nothing is."""
    asked = dg.AssetRecordsFilter(asset_key=RAW, asset_partitions=[drop])
    with pipeline.instance() as instance:
        (record,) = instance.fetch_materializations(asked, limit=1).records
    entry = record.asset_materialization.metadata.get(TO_MAKE_AGAIN)
    return None if entry is None else entry.value.partition(":")[0]


def splits(pipeline):
    with pipeline.instance() as instance:
        states = DropStates(load_pipeline(pipeline.file), instance)
        return {drop: states.of(drop)["split_dataset"] for drop in DROPS}


def stale(pipeline):
    return [drop for drop, found in splits(pipeline).items() if found.state == "stale"]


def take_away(pipeline, drop):
    """Delete its partition, as a person does in the UI; its file stays at the source."""
    with pipeline.instance() as instance:
        instance.delete_dynamic_partition(f"{NAME}_drops", drop)


@contextmanager
def queries():
    """The statements that are sent to any database in the block."""
    sent = []

    def note(_connection, _cursor, statement, *_others):
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def three(tiny, ft):
    """The data of three drops that add up."""
    return made(tiny.write({"dataset": {"accumulate": True}}), ft)


def made(tiny, ft):
    for start, drop in enumerate(DROPS):
        run(tiny.write_drop(drop, start=50 * start), ft, drop)
    return tiny


def test_a_changed_drop_makes_the_later_ones_stale_until_they_are_made_again(three, ft):
    assert stale(three) == []
    change(three, ft, "drop-2")
    found = splits(three)
    assert found["drop-1"].state == "fresh"
    assert found["drop-2"].causes == ("raw_dataset has a new data version",)
    assert found["drop-10"].causes == ("earlier drops have changed: drop-2",)

    assert made_again(three, ft) == ["drop-2", "drop-10"]
    assert stale(three) == []


def test_the_cause_names_no_drop_that_was_only_read_again(three, ft):
    run(three, ft, "drop-1")
    change(three, ft, "drop-2")
    assert splits(three)["drop-10"].causes == ("earlier drops have changed: drop-2",)


def test_each_run_of_a_drop_names_the_later_ones_as_long_as_they_are_to_be_made_again(three, ft):
    change(three, ft, "drop-1")
    assert behind(three, "drop-1") == "drop-2, drop-10"
    run(three, ft, "drop-1")
    assert behind(three, "drop-1") == "drop-2, drop-10"
    run(three, ft, "drop-2")
    run(three, ft, "drop-1")
    assert behind(three, "drop-1") == "drop-10"
    run(three, ft, "drop-10")
    run(three, ft, "drop-1")
    assert behind(three, "drop-1") is None


def test_a_drop_put_back_leaves_no_other_behind(three, ft):
    change(three, ft, "drop-1")
    change(three, ft, "drop-1", start=0)
    assert stale(three) == []
    assert behind(three, "drop-1") is None


def test_a_drop_that_was_taken_away_is_not_left_behind(three, ft):
    take_away(three, "drop-10")
    change(three, ft, "drop-1")
    assert behind(three, "drop-1") == "drop-2"


def test_a_step_that_died_before_dagster_was_told_names_them_when_it_is_repeated(three, ft):
    told, before = three.home / "dagster", three.root / "before"
    shutil.copytree(told, before)
    change(three, ft, "drop-1")
    shutil.rmtree(told)
    before.rename(told)  # the new data is in the store, and Dagster knows nothing of it
    run(three, ft, "drop-1", "raw_dataset")
    assert behind(three, "drop-1") == "drop-2, drop-10"


def test_a_drop_that_comes_late_or_is_taken_away_makes_the_later_ones_stale(three, ft):
    run(three.write_drop("drop-3", start=200), ft, "drop-3")
    assert behind(three, "drop-3") == "drop-10"
    assert splits(three)["drop-10"].causes == ("earlier drops have changed: drop-3",)
    run(three, ft, "drop-10")
    take_away(three, "drop-3")
    (cause,) = splits(three)["drop-10"].causes
    assert cause == "drops up to this one were taken away or have changed"


def test_a_drop_that_was_taken_away_is_not_brought_back(three, ft):
    take_away(three, "drop-2")
    assert stale(three) == ["drop-10"]
    assert made_again(three, ft) == ["drop-10"]
    assert stale(three) == []
    with three.instance() as instance:
        assert not instance.has_dynamic_partition(f"{NAME}_drops", "drop-2")


def test_one_that_was_stale_when_it_was_taken_away_is_not_brought_back_either(three, ft):
    change(three, ft, "drop-2")
    take_away(three, "drop-2")
    assert made_again(three, ft) == ["drop-10"]
    with three.instance() as instance:
        assert not instance.has_dynamic_partition(f"{NAME}_drops", "drop-2")


def test_where_the_raw_datasets_were_wiped_no_drop_is_said_to_have_changed(three, ft):
    with three.instance() as instance:
        instance.wipe_assets([RAW])
    assert [cause for found in splits(three).values() for cause in found.causes] == []
    for drop in DROPS:
        run(three, ft, drop)
    assert stale(three) == []


def test_a_drop_that_was_reported_by_hand_is_named_until_a_run_has_made_it(three, ft):
    with three.instance() as instance:
        by_hand = dg.AssetMaterialization(RAW, partition="drop-1")
        instance.report_runless_asset_event(by_hand)
    cause = "earlier drops have changed: drop-1 (has no data version)"
    assert splits(three)["drop-10"].causes == (cause,)
    made_again(three, ft)
    assert stale(three) == []


def test_splits_that_do_not_say_what_they_were_made_from_are_made_again_once(tiny, ft):
    alone = made(tiny, ft)
    assert stale(alone) == []
    together = alone.write({"dataset": {"accumulate": True}})
    assert {found.causes for found in splits(together).values()} == {
        ("does not say which drops it was made from",)
    }
    change(together, ft, "drop-1")
    assert behind(together, "drop-1") == "drop-2, drop-10"
    assert made_again(together, ft) == list(DROPS)
    assert stale(together) == []


def test_to_know_what_is_stale_costs_no_query_more_per_drop_than_where_none_add_up(three):
    def sent(pipeline, drops):
        with pipeline.instance() as instance:
            states = DropStates(load_pipeline(pipeline.file), instance)
            with queries() as found:
                assert not any(states.is_stale(drop) for drop in drops)
        return len(found)

    adding_up = [sent(three, DROPS[:count]) for count in (1, 2, 3)]
    alone = three.write({"dataset": {"accumulate": False}})
    assert adding_up == [sent(alone, DROPS[:count]) for count in (1, 2, 3)]


def test_drops_that_do_not_add_up_leave_each_other_alone(tiny, ft):
    for drop in DROPS:
        run(tiny.write_drop(drop, start=20), ft, drop)
    tiny.write_drop("drop-1", start=250)
    run(tiny, ft, "drop-1", "raw_dataset")
    assert stale(tiny) == ["drop-1"]


def test_the_digest_goes_by_the_natural_order_of_names_and_by_each_version():
    one = digests_up_to({"drop-2": "b", "drop-10": "c", "drop-1": "a"})
    assert list(one) == ["drop-1", "drop-2", "drop-10"]
    other = digests_up_to({"drop-1": "a", "drop-2": "x", "drop-10": "c"})
    assert one["drop-1"] == other["drop-1"]
    assert one["drop-2"] != other["drop-2"]
    assert one["drop-10"] != other["drop-10"]
