"""Thousands of random sequences of events against the new-data sensor: nothing lost or doubled.

    python bench/exactly_once.py [NUMBER] [SEED]

Each sequence has a source, a daemon and a clock to which anything may happen; the sensor, its
Dagster instance and the store are real. Ends with exit code 1 and the shortest failing sequence.
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

from tests.support.new_data_machine import check_sequences
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
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
        check_sequences(make_world, number, steps=25, seed=seed, shrink=len(sys.argv) > 3)
    print(
        json.dumps(
            {
                "sequences": worlds + 1,
                "looks": ticks + before[0].looks,
                "runs": runs,
                "seed": seed,
                "lost": 0,
                "doubled": 0,
                "seconds": round(time.monotonic() - begun, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
