"""Random sequences of events against the new-data sensor under limits, compared with a model.

The limits are ``runs_per_day`` and ``min_new_rows``, and where data accumulates one run at a time.
The base model moves where it is watched, and a schedule asks for runs beside the sensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.support.new_data_accumulating import AccumulatingData
from tests.support.new_data_beside_schedule import BesideSchedule
from tests.support.new_data_machine import NewData, contents, drops
from tests.support.new_data_model import (
    Asked,
    BaseModels,
    RowsTogether,
    budget_is_used_up,
    check_budget,
    rows_of,
)
from tests.support.new_data_stores import HUB
from tests.support.new_data_world import STEPS

MODELS = ("org/model", "org/other")
TRAINED = {"training": {"base_model": MODELS[0]}, "recipes": {"other": {"base_model": MODELS[1]}}}
SCHEDULE = {"schedule": "@daily", "enabled": True}
CONFIGS: tuple[dict[str, Any], ...] = (
    {"automation": {"quiet": 0, "runs_per_day": 1, **SCHEDULE}},
    {"automation": {"quiet": 30, "runs_per_day": 2, **SCHEDULE}},
    {"automation": {"quiet": 0, "min_new_rows": 3}},
    {"automation": {"quiet": 30, "watch_base_model": True}, **TRAINED},
    {"automation": {"quiet": 0, "watch_base_model": True, "marker": "_SUCCESS"}, **TRAINED},
    {
        "automation": {
            "quiet": 0,
            "watch_base_model": True,
            "runs_per_day": 2,
            "min_new_rows": 2,
            **SCHEDULE,
        },
        **TRAINED,
    },
)


class Limits(BesideSchedule):
    """What is added to a machine: days, commits, a schedule, and what holds under limits."""

    def watch(self) -> None:
        """Compare all that looks ask for from now on."""
        HUB.clear()
        HUB.update(dict.fromkeys(MODELS, "0"))
        self.commits = 0
        self.switch_on()
        asked = Asked(self.world)
        self.models = BaseModels(asked)
        self.rows = RowsTogether(asked) if self.world.pipeline.spec.dataset.accumulate else None
        self.asked = asked

        def hear(requests: list[dg.RunRequest]) -> None:
            new = asked.new(requests)
            if self.rows is not None:
                self.rows.hear(new)
            asked.take_in(new)
            if self.watches:
                self.models.hear(new)

        self.world.heard.append(hear)

    @property
    def watches(self) -> bool:
        return self.world.pipeline.spec.automation.watch_base_model

    @rule(seconds=st.sampled_from((1, 40, 3600, 50_000, 90_000)))
    def clock_jumps(self, seconds: float) -> None:
        """Only forward: a day that is repeated has a budget of its own."""
        self.world.now += seconds

    @precondition(lambda self: self.watches)
    @rule(model=st.sampled_from(MODELS))
    def base_model_moves(self, model: str) -> None:
        self.commits += 1
        HUB[model] = f"{self.commits:040x}"

    @precondition(lambda self: self.watches)
    @rule(model=st.sampled_from(MODELS), commit=st.sampled_from(("", "0")))
    def hub_is_silent_or_base_model_goes_back(self, model: str, commit: str) -> None:
        HUB[model] = commit

    @precondition(lambda self: self.watches)
    @rule(model=st.sampled_from(MODELS))
    def base_model_moves_while_all_rests(self, model: str) -> None:
        """Then there is exactly one run, if there is any drop to run."""
        for one in MODELS:
            HUB[one] = HUB[one] or "0"
        self.rest()
        made = self.world.made
        self.base_model_moves(model)
        self.rest()
        assert self.world.made == made + bool(self.asked.complete())

    @rule(drop=drops)
    def delete(self, drop: str) -> None:
        """Dagster resumes a tick with what it has reserved, whatever other daemons ran instead."""
        self.world.interrupted = None
        super().delete(drop)  # type: ignore[misc]

    @rule(drop=drops, other=drops, content=contents, step=st.sampled_from(STEPS))
    def a_look_is_killed_and_other_data_comes(
        self, drop: str, other: str, content: bytes, step: str
    ) -> None:
        self.a_look_is_killed(drop, content, step)
        self.put(other, "a.jsonl", content)

    @rule(
        drop=drops,
        other=drops,
        content=contents,
        step=st.sampled_from(STEPS),
        again=st.booleans(),
    )
    def a_drop_goes_before_it_runs_and_another_one_runs_in_its_place(
        self, drop: str, other: str, content: bytes, step: str, again: bool
    ) -> None:
        self.a_look_is_killed(drop, content, step)
        self.delete(drop)
        self.put(other, "a.jsonl", content)
        for _ in range(2):
            self.world.now += self.world.pipeline.spec.automation.quiet + 1
            self.world.tick()
        if again:
            self.put(drop, "a.jsonl", content)
            self.world.tick()

    def a_look_is_killed(self, drop: str, content: bytes, step: str) -> None:
        """While it asks for a drop, and for a commit where the base model is watched."""
        quiet = self.world.pipeline.spec.automation.quiet
        self.base_model_moves(MODELS[0])
        self.put(drop, "a.jsonl", content)
        self.world.tick(killed_after=None if quiet else step)
        if quiet:
            self.world.now += quiet
            self.world.tick(killed_after=step)

    @precondition(lambda self: self.watches)
    @rule(drop=drops, content=contents, step=st.sampled_from(STEPS))
    def a_look_is_killed_that_asks_for_a_commit(self, drop: str, content: bytes, step: str) -> None:
        self.rest()
        self.base_model_moves(MODELS[0])
        self.world.tick(killed_after=step)
        self.put(drop, "a.jsonl", content)

    @invariant()
    def the_budget_is_kept(self) -> None:
        if hasattr(self, "world") and self.world.pipeline.spec.automation.runs_per_day:
            check_budget(self.world)

    @rule()
    def looks_of_one_day(self) -> None:
        """What is not asked for in many looks waits for the budget, and for nothing else."""
        self.world.hidden.clear()
        self.let_the_schedule_end()
        for _ in range(14):
            self.world.now += self.world.pipeline.spec.automation.quiet + 1
            self.world.tick()
            if self.rows is not None:
                self.world.end_all()
        if not budget_is_used_up(self.world):
            self.nothing_is_owed()

    def nothing_is_owed(self) -> None:
        """All that a run should be asked for has been asked for."""
        if self.watches:
            self.models.rested()
        if self.rows is not None:
            self.rows.rested()

    def teardown(self) -> None:
        try:
            super().teardown()  # type: ignore[misc]
        finally:
            HUB.clear()

    rest: Callable[..., None]


class LimitedData(Limits, NewData):
    """Drops that stand alone."""

    configs = CONFIGS
    list_twice = put_what_is_no_drop = run_storage_is_behind = run_storage_is_up_to_date = None
    """Nothing of that has to do with limits: more of each sequence is left for what has."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        NewData.begin(self, data)
        self.watch()

    @rule()
    def rest(self) -> None:
        self.let_the_schedule_end()
        NewData.rest(self)
        self.nothing_is_owed()

    def nothing_is_owed(self) -> None:
        super().nothing_is_owed()
        waiting = [drop for drop in self.asked.waiting() if self.version(drop) is not None]
        assert not waiting, f"{waiting} should have been asked for"

    def version(self, drop: str) -> str | None:
        """None for one with too few rows."""
        if rows_of(self.world, drop) < self.world.pipeline.spec.automation.min_new_rows:
            return None
        return NewData.version(self, drop)


class LimitedAccumulatingData(Limits, AccumulatingData):
    """Drops whose runs read those before them, one run at a time."""

    configs = tuple(
        {**config, "dataset": {"accumulate": True}, "automation": {**limits, "quiet": 0}}
        for config, limits in (
            ({}, {"min_new_rows": 4}),
            ({}, {"runs_per_day": 2}),
            ({}, {"runs_per_day": 3, **SCHEDULE}),
            (TRAINED, {"watch_base_model": True}),
            (TRAINED, {"watch_base_model": True, "runs_per_day": 2, "min_new_rows": 4}),
        )
    )
    a_tick_overtakes_another_one = the_schedules_time_comes_during_a_look = None
    """A look that is overtaken sees another source than the model, when it is heard."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        AccumulatingData.begin(self, data)
        self.watch()

    @rule()
    def rest(self) -> None:
        self.let_the_schedule_end()
        AccumulatingData.rest(self)
        self.nothing_is_owed()

    def waits(self, drop: str) -> bool:
        """Those with too few rows."""
        return drop in self.asked.waiting()
