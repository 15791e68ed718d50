"""Where drops add up, a changed drop makes the splits of those after it stale, and no other."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.accumulated import digests_up_to
from ft_assets.config import load_pipeline
from ft_assets.drop_states import DropStates
from tests.support.tiny_pipeline import NAME

DATA = ("--select", "raw_dataset,split_dataset")
DROPS = ("drop-1", "drop-2", "drop-10")


def run(pipeline, ft, drop, select="raw_dataset,split_dataset"):
    call = ft(pipeline, "run", NAME, "--json", "--partition", drop, "--select", select)
    assert call.exit_code == 0, call.stderr


def page(pipeline, drop):
    """What the UI shows of a drop's raw dataset."""
    asset = dg.AssetKey([NAME, "raw_dataset"])
    asked = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[drop])
    with pipeline.instance() as instance:
        (record,) = instance.fetch_materializations(asked, limit=1).records
        return record.asset_materialization.metadata


def splits(pipeline):
    with pipeline.instance() as instance:
        states = DropStates(load_pipeline(pipeline.file), instance)
        return {drop: states.of(drop)["split_dataset"] for drop in DROPS}


def stale(pipeline):
    return [drop for drop, found in splits(pipeline).items() if found.state == "stale"]


@pytest.fixture
def three(tiny, ft):
    """The data of three drops that add up."""
    tiny.write({"dataset": {"accumulate": True}})
    for start, drop in enumerate(DROPS):
        tiny.write_drop(drop, start=50 * start)
        run(tiny, ft, drop)
    return tiny


def test_a_changed_drop_makes_the_later_ones_stale_until_they_are_made_again(three, ft):
    assert stale(three) == []
    three.write_drop("drop-2", start=250)
    run(three, ft, "drop-2", "raw_dataset")
    assert page(three, "drop-2")["later_drops_to_make_again"].value.startswith("drop-10: ft backf")
    found = splits(three)
    assert found["drop-1"].state == "fresh"
    assert found["drop-2"].causes == ("raw_dataset has a new data version",)
    assert found["drop-10"].causes == ("earlier drops have changed: drop-2",)

    again = ft(three, "backfill", NAME, "--stale", "--here", "--json", *DATA)
    assert [one["drop"] for one in again.json["drops"]] == ["drop-2", "drop-10"], again.stderr
    assert stale(three) == []


def test_a_drop_put_back_or_read_again_makes_no_other_stale(three, ft):
    for start in (250, 0):
        three.write_drop("drop-1", start=start)
        run(three, ft, "drop-1", "raw_dataset")
    assert stale(three) == []
    run(three, ft, "drop-1", "raw_dataset")
    assert "later_drops_to_make_again" not in page(three, "drop-1")


def test_a_drop_that_comes_late_or_is_taken_away_makes_the_later_ones_stale(three, ft):
    three.write_drop("drop-3", start=200)
    run(three, ft, "drop-3")
    assert stale(three) == ["drop-10"]
    run(three, ft, "drop-10")
    with three.instance() as instance:
        instance.delete_dynamic_partition(f"{NAME}_drops", "drop-3")
    assert splits(three)["drop-10"].causes == ("earlier drops have changed",)


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
