"""Thousands of random sequences of events against the new-data sensor: nothing lost or doubled.

    python bench/exactly_once.py [NUMBER] [SEED]

Each sequence has a source, a daemon and a clock to which anything may happen; the sensor, its
Dagster instance and the store are real. NUMBER sequences are of drops that stand alone, half as
many of drops under limits and with base models that move, a quarter each of data that accumulates,
without and with limits. Ends with exit code 1 and the failing sequence; a third argument has it
made as short as it can be, which takes minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dagster as dg
from hypothesis.stateful import RuleBasedStateMachine

from tests.support.new_data_accumulating import AccumulatingData
from tests.support.new_data_limited import LimitedAccumulatingData, LimitedData
from tests.support.new_data_machine import NewData, check_sequences
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World

PARTS: dict[type[RuleBasedStateMachine], int] = {
    NewData: 1,
    LimitedData: 2,
    AccumulatingData: 4,
    LimitedAccumulatingData: 4,
}
"""What can happen, and which part of NUMBER the sequences of it are."""


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    for machine, part in PARTS.items():
        print(json.dumps({"machine": machine.__name__, **run(machine, number // part, seed)}))


def run(machine: type[RuleBasedStateMachine], number: int, seed: int) -> dict[str, float]:
    """Let so many sequences of one machine happen; what was done in them."""
    worlds = ticks = runs = 0

    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        before: list[World] = []

        def make_world(config: dict[str, Any]) -> World:
            nonlocal worlds, ticks, runs
            for world in before:
                worlds, ticks, runs = worlds + 1, ticks + world.looks, runs + len(world.runs())
            before[:] = [World(FolderStore(Path(folder) / "drops"), instance, config)]
            return before[0]

        begun = time.monotonic()
        check_sequences(
            make_world, number, machine=machine, steps=25, seed=seed, shrink=len(sys.argv) > 3
        )
        return {
            "sequences": worlds + 1,
            "looks": ticks + before[0].looks,
            "runs": runs + len(before[0].runs()),
            "seed": seed,
            "lost": 0,
            "doubled": 0,
            "seconds": round(time.monotonic() - begun, 1),
        }


if __name__ == "__main__":
    main()
