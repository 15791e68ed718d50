"""The reaper deletes what nobody waits for, and nothing that is not its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.cluster.orphans import Owned, RunEnd, orphans, owned
from ft_assets.cluster.reaper import reaper_sensors

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRACE, UNKNOWN = timedelta(minutes=2), timedelta(hours=1)
OURS = {"app.kubernetes.io/managed-by": "ft-assets", "dagster/run-id": "r1"}


def a_job(**metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "dagster-step-1", "uid": "u1", "labels": OURS,
            "creationTimestamp": "2026-01-01T00:00:00Z", **metadata,
        },
        "status": {},
    }  # fmt: skip


def left(created: timedelta, run: RunEnd | None) -> bool:
    """Whether a job of some age stays."""
    job = Owned("Job", "dagster-step-1", "u1", "r1", NOW - created)
    runs = {} if run is None else {"r1": run}
    return not orphans([job], runs, NOW, grace=GRACE, unknown_grace=UNKNOWN)


def ended(ago: timedelta) -> RunEnd:
    return RunEnd(over=True, at=NOW - ago)


def test_a_job_of_ours_that_runs_is_ours():
    found = owned("Job", a_job())
    assert found is not None
    assert (found.name, found.uid, found.run_id) == ("dagster-step-1", "u1", "r1")
    assert found.created == NOW


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {},
        {"dagster/run-id": "r1"},
        {"app.kubernetes.io/managed-by": "ft-assets"},
        {**OURS, "app.kubernetes.io/managed-by": "Helm"},
    ],
)
def test_a_job_without_our_labels_is_never_ours(labels):
    assert owned("Job", a_job(labels=labels)) is None


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_job_that_is_over_is_left_to_its_time_to_live(kind):
    job = a_job()
    job["status"] = {"conditions": [{"type": kind, "status": "True"}]}
    assert owned("Job", job) is None
    assert owned("TrainJob", job) is not None, "it has no time to live"


def test_a_job_that_is_being_deleted_is_left_alone():
    assert owned("Job", a_job(deletionTimestamp="2026-01-01T00:00:00Z")) is None


def test_a_job_whose_run_goes_on_stays_however_old():
    assert left(timedelta(days=30), RunEnd(over=False, at=None))


@pytest.mark.parametrize(("ago", "stays"), [(119, True), (120, False)])
def test_a_job_has_a_grace_period_after_its_run(ago, stays):
    assert left(timedelta(days=1), ended(timedelta(seconds=ago))) is stays


def test_a_job_that_came_after_its_runs_end_has_the_grace_period_too():
    assert left(timedelta(seconds=5), ended(timedelta(days=1)))


@pytest.mark.parametrize(("age", "stays"), [(59, True), (60, False)])
def test_a_job_of_an_unknown_run_stays_for_longer(age, stays):
    assert left(timedelta(minutes=age), None) is stays


_jobs = st.builds(
    Owned,
    kind=st.sampled_from(["Job", "TrainJob"]),
    name=st.text("ab", min_size=1, max_size=3),
    uid=st.uuids().map(str),
    run_id=st.sampled_from(["r1", "r2", "r3", "r4"]),
    created=st.integers(0, 10_000).map(lambda s: NOW - timedelta(seconds=s)),
)
_runs = st.dictionaries(
    st.sampled_from(["r1", "r2", "r3"]),
    st.one_of(
        st.just(RunEnd(over=False, at=None)),
        st.just(RunEnd(over=True, at=None)),
        st.integers(0, 10_000).map(lambda s: ended(timedelta(seconds=s))),
    ),
)


@given(jobs=st.lists(_jobs, max_size=8), runs=_runs)
def test_no_job_of_a_run_that_goes_on_is_ever_deleted(jobs, runs):
    found = orphans(jobs, runs, NOW, grace=GRACE, unknown_grace=UNKNOWN)
    assert all(orphan.job in jobs for orphan in found)
    assert all(runs[o.job.run_id].over for o in found if o.job.run_id in runs)
    assert all(NOW - orphan.job.created >= GRACE for orphan in found)


@given(jobs=st.lists(_jobs, max_size=8), runs=_runs)
def test_no_job_stays_for_ever(jobs, runs):
    later = NOW + timedelta(days=1)
    found = orphans(jobs, runs, later, grace=GRACE, unknown_grace=UNKNOWN)
    kept = [job for job in jobs if job not in [orphan.job for orphan in found]]
    assert all(job.run_id in runs and not runs[job.run_id].over for job in kept)


@pytest.mark.parametrize(("executor", "names"), [("k8s", ["reaper"]), ("in_process", [])])
def test_there_is_a_reaper_on_kubernetes_alone(monkeypatch, executor, names):
    monkeypatch.setenv("FT_EXECUTOR", executor)
    assert [sensor.name for sensor in reaper_sensors()] == names
