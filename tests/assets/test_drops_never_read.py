"""``dataset.accumulate``: drops before this one that were never read, or are being read."""

from __future__ import annotations

import dagster as dg
import pytest

from tests.support.tiny_pipeline import NAME

DATA = ("--select", "raw_dataset,split_dataset")


def _page(tiny):
    """The metadata of the newest split."""
    with tiny.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey([NAME, "split_dataset"]))
        return event.asset_materialization.metadata


@pytest.mark.slow
def test_drops_before_it_that_were_never_read_are_named(tiny, ft):
    tiny.write({"dataset": {"accumulate": True}})
    tiny.write_drop("drop-2", start=40).write_drop("drop-3", start=80).write_drop("drop-10")

    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-3", *DATA)

    assert call.exit_code == 0, call.stderr
    assert _page(tiny)["drops_never_read"].value == "drop-1, drop-2"

    ft(tiny, "backfill", NAME, "--drops", "drop-1,drop-2", *DATA)
    ft(tiny, "run", NAME, "--partition", "drop-3", *DATA)
    assert "drops_never_read" not in _page(tiny)


@pytest.mark.slow
def test_a_split_of_one_drop_leaves_none_out(tiny, ft):
    tiny.write_drop("drop-2", start=40)
    ft(tiny, "run", NAME, "--partition", "drop-2", *DATA)
    assert "drops_never_read" not in _page(tiny)


@pytest.mark.slow
def test_a_drop_that_is_being_read_is_waited_for(tiny, ft):
    tiny.write({"dataset": {"accumulate": True}})
    tiny.write_drop("drop-2", start=40)
    ft(tiny, "check")  # which makes the instance
    with tiny.instance() as instance:
        instance.add_dynamic_partitions(f"{NAME}_drops", ["drop-1", "drop-2"])
        before = dg.DagsterRun(
            job_name=NAME, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "drop-1"}
        )
        instance.add_run(before)

    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-2", *DATA)

    assert "drop-1 is being made: wait for it" in call.json["error"]
    with tiny.instance() as instance:
        run = instance.get_run_by_id(call.json["run_id"])
        assert run.tags["dagster/retry_on_asset_or_op_failure"] == "true"
        instance.report_run_failed(before)

    over = ft(tiny, "run", NAME, "--json", "--partition", "drop-2", *DATA)
    assert "drop-1 has no raw dataset yet" in over.json["error"]
