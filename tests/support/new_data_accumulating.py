"""Random sequences of events against the new-data sensor when data accumulates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEventType
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resources.sources.partitions import natural_order
from tests.support.new_data_machine import contents, drops, ends, files
from tests.support.new_data_world import STEPS, World, of_base_model


class AccumulatingData(RuleBasedStateMachine):
    """What can happen to accumulating data, where a drop's run reads all drops before it.

    So when all rests, the last runs of the drops are in the drops' order, each behind its last
    change: a drop that changed, or came late, had all drops behind it run again. A drop that was
    deleted is waited for by nobody, whatever became of its run.
    """

    make_world: Callable[[dict[str, Any]], World]
    configs: tuple[dict[str, Any], ...] = (
        {"automation": {"quiet": 0}, "dataset": {"accumulate": True}},
    )

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = self.make_world(data.draw(st.sampled_from(self.configs)))
        self.changed: dict[str, int] = {}
        """Per drop how many runs there were when it changed last."""

    @rule(drop=drops, file=files, content=contents)
    def put(self, drop: str, file: str, content: bytes) -> None:
        before = self.world.token(drop)
        self.world.store.put(drop, file, content)
        if self.world.token(drop) != before:
            self.changed[drop] = self.world.made

    @rule(drop=drops)
    def delete(self, drop: str) -> None:
        """Dagster resumes a tick with what it has reserved, whatever other daemons ran instead."""
        self.world.interrupted = None
        self.world.store.delete(drop)
        self.changed.pop(drop, None)

    @rule(drop=drops, other=drops, content=contents)
    def a_drop_is_deleted_before_its_run_is_launched(
        self, drop: str, other: str, content: bytes
    ) -> None:
        self.put(drop, "a.jsonl", content)
        self.world.now += 40
        self.world.tick(killed_after="created")
        self.delete(drop)
        self.put(other, "a.jsonl", content)

    @rule()
    def tick(self) -> None:
        self.world.now += 40
        self.world.tick()

    @rule(step=st.sampled_from(STEPS))
    def tick_is_killed(self, step: str) -> None:
        self.world.tick(killed_after=step)

    @rule(end=ends)
    def runs_end(self, end: tuple[DagsterEventType, bool]) -> None:
        self.world.end_all(*end)

    @rule()
    def cursor_is_reset(self) -> None:
        self.world.write_cursor(None)

    @rule()
    def two_ticks_race(self) -> None:
        for result in [self.world.evaluate(self.world.cursor) for _ in range(2)]:
            self.world.finish(result)

    @rule(drop=drops, content=contents)
    def a_tick_overtakes_another_one(self, drop: str, content: bytes) -> None:
        world, cursor = self.world, self.world.cursor

        def meanwhile() -> None:
            self.put(drop, "a.jsonl", content)
            world.finish(world.evaluate(cursor))
            world.end_all()

        with world.before_the_ledger_is_written(meanwhile):
            result = world.evaluate(cursor)
        world.finish(result)

    @invariant()
    def one_run_goes_on_at_a_time(self) -> None:
        if hasattr(self, "world"):
            runs = self.world.runs(with_retries=True)
            going_on = [run.tags for run in runs if run.status is dg.DagsterRunStatus.STARTING]
            assert len(going_on) <= 1, going_on

    @rule()
    def rest(self) -> None:
        self.world.rest(looks=120)
        runs = self.world.runs()
        keys = [run.tags["dagster/run_key"] for run in runs]
        assert len(keys) == len(set(keys)), keys
        last = {
            run.tags["ft/drop"]: number for number, run in enumerate(runs) if not of_base_model(run)
        }
        changed = {drop: at for drop, at in self.changed.items() if not self.waits(drop)}
        ordered = sorted(changed, key=natural_order)
        assert sorted(ordered, key=last.__getitem__) == ordered, (ordered, last)
        assert all(last[drop] >= at for drop, at in changed.items()), (changed, last)

    def waits(self, drop: str) -> bool:
        """Whether a changed drop waits for something that lets no time pass."""
        del drop
        return False

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.rest()
        made = self.world.made
        self.rest()
        assert self.world.made == made, "something ran again although nothing changed"
