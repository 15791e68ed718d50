"""What the new-data sensor may and must ask for, under limits and with a base model that moves.

Known from what lies at the source, what the hub says and what was asked for before, and from none
of the sensor's own decisions.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from resources.sources.partitions import natural_order
from tests.support.new_data_machine import DROPS
from tests.support.new_data_stores import HUB
from tests.support.new_data_world import DAY, World

ROW_OF_MODEL = "(base model "


class Asked:
    """What the looks have asked for so far, each thing once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys: set[str] = set()
        self.versions: dict[str, str] = {}
        """Per drop its version when it was asked for last."""
        self.again: set[str] = set()
        """Drops that read a drop before them which was asked for later than they were."""

    def new(self, requests: list[dg.RunRequest]) -> list[dg.RunRequest]:
        """Those that no look has asked for before."""
        return [one for one in requests if one.run_key not in self.keys]

    def take_in(self, new: list[dg.RunRequest]) -> None:
        """Remember what a look asks for."""
        for one in new:
            self.keys.add(str(one.run_key))
            if is_of_data(one):
                self._take_in_drop(str(one.partition_key))

    def _take_in_drop(self, drop: str) -> None:
        now, before = self.world.token(drop), self.versions.get(drop)
        self.again.discard(drop)
        if now is None or now == before:
            return
        self.versions[drop] = now
        if self.world.pipeline.spec.dataset.accumulate:
            here = natural_order(drop)
            self.again |= {one for one in self.versions if natural_order(one) > here}

    def waiting(self) -> dict[str, str]:
        """The drops at the source, and their versions, that were not asked for in this version."""
        lying = {drop: self.world.token(drop) for drop in _drops(self.world)}
        return {
            drop: token
            for drop, token in lying.items()
            if token is not None and token != self.versions.get(drop)
        }

    def complete(self) -> set[str]:
        """The drops that lie there in the version that was asked for."""
        marker = self.world.pipeline.spec.automation.marker
        waiting = self.waiting()
        return {
            drop
            for drop in _drops(self.world)
            if drop in self.versions
            and drop not in waiting
            and drop not in self.again
            and (marker is None or (_root(self.world) / drop / marker).exists())
        }

    def is_launched(self, run_key: str) -> bool:
        """Whether the run storage shows a run of this request that was launched."""
        return any(
            run.tags["dagster/run_key"] == run_key
            and run.status is not dg.DagsterRunStatus.NOT_STARTED
            and run.run_id not in self.world.hidden
            for run in self.world.runs()
        )


class RowsTogether:
    """``min_new_rows`` of accumulated data: all that waits is asked for, or nothing of it."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.least = asked.world.pipeline.spec.automation.min_new_rows
        self.through: dict[str, str] = {}
        """Versions that waited when there were rows enough."""

    def hear(self, new: list[dg.RunRequest]) -> None:
        """Compare what a look asks for, before it is taken in."""
        drops = [str(one.partition_key) for one in new if is_of_data(one)]
        waiting = self.asked.waiting()
        if drops and self._rows(waiting) >= self.least:
            self.through |= waiting
        for drop in drops:
            if drop in waiting:
                assert self.through.get(drop) == waiting[drop], f"{drop} has too few rows"
            else:
                assert drop in self.asked.again, f"{drop} is asked for without a reason"

    def rested(self) -> None:
        """What waits now has too few rows, and was never let through."""
        waiting = self.asked.waiting()
        assert self._rows(waiting) < max(self.least, 1), f"{waiting} have rows enough"
        late = [drop for drop, token in waiting.items() if self.through.get(drop) == token]
        assert not late, f"{late} had rows enough together with others and wait all the same"

    def _rows(self, drops: dict[str, str]) -> int:
        return sum(rows_of(self.asked.world, drop) for drop in drops)


class BaseModels:
    """``watch_base_model``: a commit that is new has one run, of the newest complete drop then."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.taken: dict[str, str] = {}
        """Per model the commit that runs are made with, or that the first look found."""
        self.by: dict[str, str] = {}
        """Per model the key of the run that was to take this commit."""

    def hear(self, new: list[dg.RunRequest]) -> None:
        """Compare what a look asks for, once it is taken in."""
        data = {str(one.partition_key): one for one in new if is_of_data(one)}
        newest = max({*self.asked.complete(), *data}, key=natural_order, default=None)
        for model, commit in HUB.items():
            start = f"{ROW_OF_MODEL}{model}):"
            mine = [one for one in new if str(one.run_key).startswith(start)]
            assert all(one.partition_key == newest for one in mine), (mine, newest)
            taken = not commit or self.taken.setdefault(model, commit) == commit
            if taken and not self._is_lost(model):
                assert not mine, f"{mine} without a new commit"
            elif newest in data and not self._waits(model):
                assert not mine, f"{newest} is asked for twice for one commit"
                self._take(model, commit, data[newest])
            if mine:
                assert [one.tags["ft/token"] for one in mine] == [commit]
                self._take(model, commit, mine[0])

    def rested(self) -> None:
        """Each model's commit has its run, if there is any drop to run."""
        if not self.asked.complete():
            return
        for model, commit in HUB.items():
            if commit and model in self.taken:
                assert self.taken[model] == commit, f"commit {commit} of {model} is lost"
                key = self.by.get(model)
                assert key is None or self.asked.is_launched(key), f"{key} was to take {commit}"

    def _take(self, model: str, commit: str, request: dg.RunRequest) -> None:
        self.taken[model], self.by[model] = commit, str(request.run_key)

    def _waits(self, model: str) -> bool:
        """Whether the commit before has no run yet: the next one waits until it has."""
        key = self.by.get(model)
        waits = key is not None and not self.asked.is_launched(key)
        return waits and not self._is_lost(model)

    def _is_lost(self, model: str) -> bool:
        """Whether a drop's own run was to take the commit, and that drop has gone before it ran."""
        key = self.by.get(model, ROW_OF_MODEL)
        drop = key.split(":")[0]
        gone = not key.startswith(ROW_OF_MODEL) and self.asked.world.token(drop) is None
        return gone and not self.asked.is_launched(key)


def check_budget(world: World) -> None:
    """No run was made at the sensor's request that exceeds the runs of 24 hours.

    One that Dagster launches in the place of a failed one counts, and nobody asks for it.
    """
    most, begun = world.pipeline.spec.automation.runs_per_day, world.begun()
    for number, (at, run) in enumerate(begun):
        last_day = [when for when, _ in begun[:number] if when > at - DAY]
        assert run.parent_run_id is not None or len(last_day) < most, (at, run.tags, begun)


def budget_is_used_up(world: World) -> bool:
    """Whether no run may begin now."""
    most = world.pipeline.spec.automation.runs_per_day
    return 0 < most <= sum(when > world.now - DAY for when, _ in world.begun())


def rows_of(world: World, drop: str) -> int:
    """Rows that a drop has now."""
    return sum(path.read_bytes().count(b"\n") for path in (_root(world) / drop).glob("*.jsonl"))


def is_of_data(request: dg.RunRequest) -> bool:
    """Whether a version of data is asked for, and not a run for a base model."""
    return not str(request.run_key).startswith(ROW_OF_MODEL)


def _drops(world: World) -> list[str]:
    return [drop for drop in DROPS if (_root(world) / drop).is_dir()]


def _root(world: World) -> Path:
    return Path(world.store.uri.partition("{")[0])
