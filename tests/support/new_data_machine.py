"""Random sequences of events against the new-data sensor, compared with what should be asked for.

What should be asked for, per drop: the versions at its source in the order in which they were
there; each at most once in a row, and certainly each that was there while the source rested.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEventType
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ft_assets.automation.new_data.state import read_cursor
from tests.support.new_data_stores import LISTS_TWICE
from tests.support.new_data_world import NAME, STEPS, World, asked_of

NOT_STARTED = dg.DagsterRunStatus.NOT_STARTED
DROPS = ("drop-1", "drop-2", "drop-10", "2026-01-05", "Zebra", "0")
NO_DROPS = ("-dash", ".hidden", "with space", "ümlaut")
FILES = ("a.jsonl", "b.jsonl")
CONTENTS = (b'{"a": 1}\n', b'{"a": 22}\n' * 2, b'{"a": 333}\n' * 3)
CONFIGS: tuple[dict[str, Any], ...] = (
    {"automation": {"quiet": 30}},
    {"automation": {"quiet": 0}},
    {"automation": {"quiet": 30, "marker": "_SUCCESS"}},
)

ENDS = (
    (DagsterEventType.PIPELINE_SUCCESS, False),
    (DagsterEventType.PIPELINE_FAILURE, False),
    (DagsterEventType.PIPELINE_FAILURE, True),
    (DagsterEventType.PIPELINE_CANCELED, False),
)
"""How a run ends, and whether Dagster launches another one in its place."""

drops, files = st.sampled_from(DROPS), st.sampled_from(FILES)
contents, ends = st.sampled_from(CONTENTS), st.sampled_from(ENDS)


class NewData(RuleBasedStateMachine):
    """Anything that can happen to a source, a daemon and a clock."""

    make_world: Callable[[dict[str, Any]], World]
    configs = CONFIGS

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = self.make_world(data.draw(st.sampled_from(self.configs)))
        self.made = 0
        self.history: dict[str, list[str]] = {}
        """Per drop its versions in order, with no version twice in a row."""
        self.rested: dict[str, list[str]] = {}
        """The same, of those that were there while nothing happened."""

    # The source

    @rule(drop=drops, file=files, content=contents)
    def put(self, drop: str, file: str, content: bytes) -> None:
        self.world.store.put(drop, file, content)
        self._mark(drop)
        self._remember(drop)

    @rule(drop=drops, file=files, content=contents)
    def put_and_rest(self, drop: str, file: str, content: bytes) -> None:
        self.put(drop, file, content)
        self.rest()

    @rule(drop=drops)
    def delete(self, drop: str) -> None:
        self.world.store.delete(drop)
        self._remember(drop)

    @rule(drop=drops, content=contents)
    def delete_and_put_again(self, drop: str, content: bytes) -> None:
        self.world.store.delete(drop)
        self.put(drop, "a.jsonl", content)

    @rule(drop=st.sampled_from(NO_DROPS))
    def put_what_is_no_drop(self, drop: str) -> None:
        self.world.store.put(drop, "a.jsonl", b"{}")

    @rule()
    def list_twice(self) -> None:
        LISTS_TWICE[:] = [] if LISTS_TWICE else [True]

    # The daemon

    @rule(seconds=st.sampled_from((0, 5, 20, 40)))
    def tick(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.tick()

    @rule(step=st.sampled_from(STEPS), seconds=st.sampled_from((20, 40)))
    def tick_is_killed(self, step: str, seconds: float) -> None:
        self.world.now += seconds
        self.world.tick(killed_after=step)

    @rule(drop=drops, content=contents, step=st.sampled_from(STEPS))
    def tick_is_killed_while_it_asks(self, drop: str, content: bytes, step: str) -> None:
        self.put(drop, "a.jsonl", content)
        self.world.tick()
        self.tick_is_killed(step, 40)

    @rule()
    @precondition(lambda self: self.world.interrupted is not None)
    def interrupted_tick_is_given_up(self) -> None:
        """Dagster resumes a tick for a day, and then no more."""
        self.world.interrupted = None

    @rule(data=st.data(), seconds=st.sampled_from((20, 40)))
    def second_daemon_with_an_old_cursor(self, data: st.DataObject, seconds: float) -> None:
        self.world.now += seconds
        cursor = data.draw(st.sampled_from([None, *self.world.old_cursors[-5:]]))
        self.world.finish(self.world.evaluate(cursor))

    @rule(first_ends_last=st.booleans())
    def two_ticks_race(self, first_ends_last: bool) -> None:
        self.world.now += 40
        results = [self.world.evaluate(self.world.cursor) for _ in range(2)]
        for result in results[::-1] if first_ends_last else results:
            self.world.finish(result)

    @rule(drop=drops, content=contents)
    def a_tick_overtakes_another_one(self, drop: str, content: bytes) -> None:
        """While one look is about to write, the data changes and another look is done."""
        world, cursor = self.world, self.world.cursor
        drop = next(iter(read_cursor(cursor).awaited), drop)  # of a run that it waits for
        world.now += 40

        def meanwhile() -> None:
            self.put(drop, "a.jsonl", content)
            for _ in range(2):
                world.now += 40
                world.finish(world.evaluate(cursor))

        with world.before_the_ledger_is_written(meanwhile):
            result = world.evaluate(cursor)
        world.finish(result)

    @rule(seconds=st.sampled_from((-10_000, -100, -31, 1, 10_000)))
    def clock_jumps(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def run_storage_is_behind(self) -> None:
        self.world.hidden |= {run.run_id for run in self.world.runs()}

    @rule()
    def run_storage_is_up_to_date(self) -> None:
        self.world.hidden.clear()

    @rule(end=ends)
    def runs_end(self, end: tuple[DagsterEventType, bool]) -> None:
        """A version whose run failed, or was canceled, is not asked for again either."""
        self.world.end_all(*end)

    @rule()
    def cursor_is_reset(self) -> None:
        """As the UI does, or as a sensor does that was off and whose state was deleted."""
        self.world.write_cursor(None)

    @rule()
    def rest(self) -> None:
        self.world.rest()
        for drop in DROPS:
            token = self.version(drop)
            known = self.rested.setdefault(drop, [])
            if token is not None and known[-1:] != [token]:
                known.append(token)
        self._nothing_is_lost()

    # What must be true

    @invariant()
    def each_version_is_asked_for_once(self) -> None:
        if self.made == self.world.made:
            return
        self.made, runs = self.world.made, self.world.runs()
        keys = [run.tags["dagster/run_key"] for run in runs]
        assert len(keys) == len(set(keys)), keys
        for drop, given in asked_of(runs).items():
            numbers = [number for number, _ in given]
            assert numbers == list(range(1, len(given) + 1)), (drop, given)
            tokens = [token for _, token in given]
            assert all(one != two for one, two in pairwise(tokens)), (drop, tokens)
            assert _is_subsequence(tokens, self.history.get(drop, [])), (drop, tokens, self.history)

    def _nothing_is_lost(self) -> None:
        asked = {
            drop: [token for _, token in given]
            for drop, given in asked_of(self.world.runs()).items()
        }
        there = [run for run in self.world.runs() if self.world.token(run.tags["ft/drop"])]
        assert all(run.status is not NOT_STARTED for run in there)
        for drop, known in self.rested.items():
            assert _is_subsequence(known, asked.get(drop, [])), (drop, known, asked.get(drop))
            if (token := self.version(drop)) is not None:
                assert asked[drop][-1] == token, (drop, asked[drop], token)
        partitions = set(self.world.instance.get_dynamic_partitions(f"{NAME}_drops"))
        assert set(asked) <= partitions <= set(DROPS)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        LISTS_TWICE.clear()
        self.rest()

    def _mark(self, drop: str) -> None:
        marker = self.world.pipeline.spec.automation.marker
        if marker is not None:
            self.world.store.put(drop, marker, b"")

    def version(self, drop: str) -> str | None:
        """The version of a drop that a run is asked for, now or later."""
        return self.world.token(drop)

    def _remember(self, drop: str) -> None:
        token = self.version(drop)
        known = self.history.setdefault(drop, [])
        if token is not None and known[-1:] != [token]:
            known.append(token)


def _is_subsequence(few: list[str], many: list[str]) -> bool:
    rest = iter(many)
    return all(one in rest for one in few)


def check_sequences(
    make_world: Callable[[dict[str, Any]], World],
    number: int,
    *,
    machine: type[RuleBasedStateMachine] = NewData,
    steps: int = 15,
    seed: int = 0,
    shrink: bool = False,
) -> None:
    """Let so many random sequences happen; an AssertionError tells the one that fails.

    Args:
        make_world: a new world for each sequence.
        number: of sequences.
        machine: what can happen.
        steps: events in a sequence, at most.
        seed: of chance; 0 for the same sequences every time.
        shrink: find the shortest sequence that fails, which takes minutes.
    """
    # Phase.explain would trace every line, which makes all of it five times slower.
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    here = type("Here", (machine,), {"make_world": staticmethod(make_world)})
    run_state_machine_as_test(
        seeded(seed)(here) if seed else here,
        settings=settings(
            max_examples=number,
            stateful_step_count=steps,
            deadline=None,
            phases=phases,
            derandomize=seed == 0,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
