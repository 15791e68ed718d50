"""Freshness: a registered version that nobody renewed in time is marked as too old.

How the daemon and the UI show it is in tests/test_ui_walk.py.
"""

from __future__ import annotations

import pytest

from ft_assets.config import load_pipeline
from ft_assets.pipeline import pipeline_definitions
from resources.errors import UserError

HOUR = 3600


def policies(tiny, hours):
    """The policies of all assets, by the names of those that have one."""
    pipeline = load_pipeline(tiny.write({"automation": {"max_age_hours": hours}}).file)
    found = {
        asset.key.path[-1]: spec.freshness_policy
        for asset in pipeline_definitions(pipeline).assets or ()
        for spec in asset.specs
    }
    return {name: policy for name, policy in found.items() if policy is not None}


def test_the_registered_version_and_nothing_else_has_a_greatest_age(tiny):
    found = policies(tiny, 12)
    assert list(found) == ["registered_version"]
    assert found["registered_version"].fail_window.to_timedelta().total_seconds() == 12 * HOUR


def test_without_an_age_nothing_is_ever_too_old(tiny):
    assert policies(tiny, 0) == {}


def test_the_least_age_is_one_that_dagster_takes(tiny):
    assert policies(tiny, 0.02)


@pytest.mark.parametrize("hours", [0.01, -1, float("inf"), float("nan"), 100_000])
def test_an_age_that_means_nothing_is_refused_with_its_name(tiny, hours):
    with pytest.raises(UserError, match=r"tiny\.yaml:\d+:\d+: automation\.max_age_hours"):
        policies(tiny, hours)
