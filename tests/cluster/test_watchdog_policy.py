"""When a finding ends a step, and whether the step is tried again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.cluster.causes import (
    CAUSES,
    ENDED_SILENTLY,
    EVICTED,
    IMAGE_NOT_FOUND,
    NODE_LOST,
    OUT_OF_MEMORY,
    QUEUED,
    UNSCHEDULABLE,
    Cause,
    Fault,
)
from ft_assets.cluster.findings import Finding, Verdict, finding
from ft_assets.cluster.settings import WatchSettings
from ft_assets.cluster.watchdog import judge, worth_saying

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = WatchSettings(
    patience_seconds=60, node_patience_seconds=90, queue_seconds=3600, end_seconds=20
)


def verdict(one: Finding, *, lasts: float = 0, launched: float = 0) -> Verdict | None:
    """After a finding has lasted some seconds, in a step that was launched some seconds ago."""
    return judge(
        [one],
        {one.key: NOW - timedelta(seconds=lasts)},
        NOW - timedelta(seconds=max(lasts, launched)),
        NOW,
        SETTINGS,
    )


@pytest.mark.parametrize(
    ("cause", "seconds", "deadline"),
    [
        (IMAGE_NOT_FOUND, 60, "patience_seconds"),
        (NODE_LOST, 90, "node_patience_seconds"),
        (UNSCHEDULABLE, 3600, "kubernetes.queue_timeout"),
    ],
    ids=["a mistake", "a lost node", "no room"],
)
def test_what_may_pass_has_time_to_and_then_the_deadline_is_named(cause, seconds, deadline):
    assert verdict(finding(cause, "so it is"), lasts=seconds - 1) is None
    ended = verdict(finding(cause, "so it is"), lasts=seconds)
    assert ended is not None
    assert deadline in ended.waited


def test_the_queue_is_counted_from_the_launch_whatever_the_scheduler_last_said():
    one = finding(UNSCHEDULABLE, "0/3 nodes are available")
    assert verdict(one, lasts=1, launched=3600) is not None


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause is not ENDED_SILENTLY])
def test_what_is_over_ends_the_step_at_once(cause):
    assert verdict(finding(cause, "so it is", final=True)) is not None


def test_a_pod_that_ended_well_has_time_for_its_last_words():
    ended = finding(ENDED_SILENTLY, "complete")
    assert verdict(ended, lasts=19) is None
    assert verdict(ended, lasts=20) is not None


@pytest.mark.parametrize(
    ("cause", "again"), [(EVICTED, True), (OUT_OF_MEMORY, False), (UNSCHEDULABLE, False)]
)
def test_only_what_the_cluster_did_is_tried_again(cause, again):
    ended = verdict(finding(cause, "so it is", final=True))
    assert ended is not None
    assert ended.retry is again


@given(
    cause=st.sampled_from(CAUSES),
    final=st.booleans(),
    lasts=st.floats(0, 10_000),
    more=st.floats(0, 10_000),
)
def test_waiting_longer_never_takes_a_verdict_back(cause: Cause, final, lasts, more):
    one = finding(cause, "so it is", final=final)
    early, late = verdict(one, lasts=lasts), verdict(one, lasts=lasts + more)
    assert early is None or (late is not None and late.retry == early.retry)


@given(cause=st.sampled_from(CAUSES))
def test_nothing_hangs_for_ever(cause: Cause):
    """Whatever it is, the longest of the deadlines ends it."""
    assert verdict(finding(cause, "so it is"), lasts=3600) is not None


def test_the_end_of_a_step_is_the_first_finding_whose_time_is_up():
    wait, over = finding(QUEUED, "no pod"), finding(EVICTED, "low on memory", final=True)
    ended = judge([over, wait], {}, NOW, NOW, SETTINGS)
    assert ended == Verdict(over, retry=True)


def test_what_passes_in_a_moment_is_not_worth_an_event():
    one = finding(QUEUED, "no pod")
    assert not worth_saying(one, NOW - timedelta(seconds=29), NOW)
    assert worth_saying(one, NOW - timedelta(seconds=30), NOW)
    assert worth_saying(replace(one, final=True), NOW, NOW)


def test_every_cause_is_said_within_a_minute():
    assert all(cause.quiet_seconds + WatchSettings().poll_seconds < 60 for cause in CAUSES)


def test_a_pull_that_is_tried_again_is_the_same_finding():
    first, again = (
        finding(IMAGE_NOT_FOUND, text) for text in ("manifest unknown", "Back-off pulling image")
    )
    assert first.change == again.change


def test_another_reason_of_the_scheduler_is_worth_another_event_and_another_number_is_not():
    one = finding(UNSCHEDULABLE, "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    more = replace(one, detail="0/9 nodes are available: 9 Insufficient nvidia.com/gpu.")
    other = replace(one, detail="0/3 nodes are available: 3 Insufficient memory.")
    assert one.change == more.change
    assert one.change != other.change


def test_each_cause_is_somebodys():
    assert {cause.fault for cause in CAUSES} == set(Fault)
