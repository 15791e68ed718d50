"""What can happen where a schedule asks for runs beside the new-data sensor."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from ft_assets.automation.new_data.scheduled import MADE_WITHIN
from ft_assets.automation.one_at_a_time import one_at_a_time
from tests.support.new_data_machine import contents, drops
from tests.support.new_data_schedule import STEPS as SCHEDULE_STEPS
from tests.support.new_data_schedule import Schedule
from tests.support.new_data_world import DAY, STEPS, World


class BesideSchedule:
    """What is added to a machine whose pipeline has a schedule."""

    world: World
    put: Callable[..., None]

    def switch_on(self) -> None:
        """Begin with the schedule, if there is one."""
        scheduled = self.world.pipeline.spec.automation.schedule is not None
        self.schedule = Schedule(self.world) if scheduled else None

    @precondition(lambda self: self.schedule is not None)
    @rule(step=st.sampled_from((None, *SCHEDULE_STEPS)))
    def the_schedules_time_comes(self, step: str | None) -> None:
        assert self.schedule is not None
        self.schedule.fire(killed_after=step)

    @precondition(lambda self: self.schedule is not None)
    @rule(drop=drops, content=contents, step=st.sampled_from((None, *STEPS)))
    def a_look_comes_first(self, drop: str, content: bytes, step: str | None) -> None:
        """It may be killed, and goes on when the schedule has had its run made."""
        assert self.schedule is not None
        self.comes_on_a_new_day(drop, content)
        self.world.tick(killed_after=step)
        self.schedule.fire()
        self.world.tick()

    @precondition(lambda self: self.schedule is not None)
    @rule(drop=drops, other=drops, content=contents, step=st.sampled_from((None, *SCHEDULE_STEPS)))
    def looks_come_before_the_schedules_run_is_made(
        self, drop: str, other: str, content: bytes, step: str | None
    ) -> None:
        def looks() -> None:
            self.world.tick()
            self.put(other, "a.jsonl", content)
            for _ in range(2):
                self.world.now += self.world.pipeline.spec.automation.quiet
                self.world.tick()

        assert self.schedule is not None
        self.comes_on_a_new_day(drop, content)
        self.schedule.fire(killed_after=step, meanwhile=looks)

    @precondition(lambda self: self.schedule is not None)
    @rule(drop=drops, content=contents, step=st.sampled_from((None, *SCHEDULE_STEPS)))
    def the_schedules_time_comes_during_a_look(
        self, drop: str, content: bytes, step: str | None
    ) -> None:
        schedule, world = self.schedule, self.world
        assert schedule is not None
        self.comes_on_a_new_day(drop, content)
        with world.before_the_ledger_is_written(lambda: schedule.fire(killed_after=step)):
            result = world.evaluate(world.cursor)
        world.finish(result)

    def comes_on_a_new_day(self, drop: str, content: bytes) -> None:
        """A drop, when nothing goes on and no budget is used up; the next look asks for it."""
        self.let_the_schedule_end()
        self.world.now += DAY
        self.world.end_all()
        self.put(drop, "a.jsonl", content)
        if quiet := self.world.pipeline.spec.automation.quiet:
            self.world.tick()
            self.world.now += quiet

    def let_the_schedule_end(self) -> None:
        """The daemon goes on, and what it does not make then has no run any more."""
        if self.schedule is not None:
            self.schedule.resume()
            self.world.now += MADE_WITHIN
            if not one_at_a_time(self.world.pipeline):  # there others may have gone before
                assert self.schedule.unlaunched() == [], "nobody launches it any more"
