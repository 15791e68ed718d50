"""``ft backfill`` with Dagster's daemon: drops run side by side, and each winner is registered."""

from __future__ import annotations

import time

import dagster as dg
import pytest
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._daemon.daemon import BackfillDaemon
from dagster._daemon.types import DaemonHeartbeat

from resources.registry import EmbeddedRegistry
from tests.support.daemon import daemon
from tests.support.tiny_pipeline import NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WINS = {"promotion": {"against_champion": "not_worse", "primary_margin": 9, "min_samples": 3}}


def test_the_daemon_runs_all_drops_and_each_good_one_gets_its_version(tiny, ft):
    """Though the champion of the one moves while the other is judged."""
    tiny.write(WINS).write_drop("drop-2", start=40).write_drop("drop-3", start=80)
    (tiny.data / "drop-2.jsonl").write_text('{"messages": 3}\n')
    ft(tiny, "check")  # which makes the instance
    with daemon(tiny):
        call = ft(tiny, "backfill", NAME, "--json", "--all")

    assert call.exit_code == 1, call.stderr
    assert call.json["through"] == "daemon"
    results = {drop["drop"]: drop["result"] for drop in call.json["drops"]}
    assert results == {"drop-1": "made", "drop-2": "failed", "drop-3": "made"}, call.json
    assert "row 1: 'messages' is not a list" in call.json["drops"][1]["why"]

    registry = EmbeddedRegistry(path=str(tiny.home / "registry.db"))
    versions = registry.list_versions("tiny-assistant")
    assert {version.version for version in versions} == {"1.0.0", "1.0.1"}
    assert {version.properties["partition"] for version in versions} == {"drop-1", "drop-3"}
    assert [version.stage for version in versions].count("champion") == 1

    with tiny.instance() as instance:
        (backfill,) = instance.get_backfills()
        assert backfill.backfill_id == call.json["backfill"]
        assert backfill.status.value == "COMPLETED_FAILED"
        runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.backfill_id}))
        assert {run.tags["pipeline"] for run in runs} == {NAME}
        again = [run for run in runs if run.parent_run_id is not None]
        assert len(runs) - len(again) == 3
        assert all(run.tags["dagster/partition"] != "drop-2" for run in again)


def test_drops_that_build_on_each_other_run_here_in_order(tiny, ft):
    tiny.write({"dataset": {"accumulate": True}}).write_drop("drop-2", start=40)
    ft(tiny, "check")  # which makes the instance
    with tiny.instance() as instance:
        instance.add_daemon_heartbeat(_a_backfill_daemon())

    call = ft(tiny, "backfill", NAME, "--json", "--all", "--select", "raw_dataset,split_dataset")

    assert call.exit_code == 0, call.stderr
    assert call.json["through"] == "here"


def _a_backfill_daemon() -> DaemonHeartbeat:
    """What a daemon on this instance would have left a moment ago."""
    return DaemonHeartbeat(time.time(), BackfillDaemon.daemon_type(), "daemon", None)
