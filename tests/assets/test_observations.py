"""A run of any length gives about a hundred observations at most, with numbers that plot."""

from __future__ import annotations

import math
from typing import Any

import dagster as dg
import pytest

from ft_assets.assets.observations import MOST, TrainingObserver


class Observed:
    """What an observer logged, under a clock that a test moves."""

    def __init__(self) -> None:
        self.events: list[dg.AssetObservation] = []
        self.now = 0.0
        self.observer = TrainingObserver(
            self.events.append, ["p", "finetuned_model"], "drop-1", clock=lambda: self.now
        )

    def step(self, step: int, total: int, seconds: float = 10.0, **values: Any) -> None:
        self.now += seconds
        self.observer({"phase": "train", "done": step, "total": total, "loss": 2.0, **values})

    @property
    def steps(self) -> list[Any]:
        return [event.metadata["step"].value for event in self.events]


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.mark.parametrize(("total", "most"), [(33, 33), (100, 100), (10_000, MOST + 1)])
def test_there_are_at_most_about_a_hundred(observed, total, most):
    for step in range(1, total + 1):
        observed.step(step, total)
    assert len(observed.events) <= most
    assert len(observed.events) >= min(total, MOST) * 0.9
    assert (observed.steps[0], observed.steps[-1]) == (1, total)


def test_without_a_known_total_they_become_rarer(observed):
    for step in range(1, 10_000):
        observed.step(step, 0)
    assert len(observed.events) < 200


def test_quick_steps_do_not_fill_the_event_log(observed):
    for step in range(1, 51):
        observed.step(step, 50, seconds=0.01)
    assert observed.steps == [1, 50]


def test_a_held_out_loss_between_two_observations_comes_with_the_next(observed):
    for step in range(1, 1001):
        held_out = {"held_out_loss": 1.5} if step == 495 else {}
        observed.step(step, 1000, **held_out)
    shown = [event for event in observed.events if "held_out_loss" in event.metadata]
    (event,) = shown
    assert event.metadata["step"].value == 501
    assert event.metadata["held_out_loss"].value == 1.5
    assert event.metadata["held_out_loss_at_step"].value == 495


def test_numbers_are_floats_of_the_asset_and_the_drop(observed):
    observed.step(1, 10, learning_rate=1e-5, tokens_per_second=100.0, memory_mib=512.0)
    (event,) = observed.events
    assert event.asset_key == dg.AssetKey(["p", "finetuned_model"])
    assert event.partition == "drop-1"
    for name in ("loss", "learning_rate", "tokens_per_second", "memory_mib"):
        assert isinstance(event.metadata[name], dg.FloatMetadataValue), name


def test_a_number_that_is_not_finite_is_shown_at_once_as_a_text(observed):
    observed.step(1, 1000)
    observed.step(2, 1000, loss=math.nan)
    assert observed.steps == [1, 2]
    assert observed.events[1].metadata["loss"].value == "nan"


def test_reports_of_other_phases_are_no_observations(observed):
    observed.observer({"phase": "tokenize", "done": 1, "total": 0})
    observed.observer({"phase": "train", "done": 0, "total": 10})
    assert observed.events == []
