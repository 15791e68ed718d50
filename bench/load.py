"""How long the code location takes to load, beside a Dagster project with one empty asset.

Each load is a process of its own, because that is what every run and every step pays; the two take
turns. Prints one JSON object: medians in seconds, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EMPTY = """\
import dagster as dg

@dg.asset
def nothing() -> None: ...

defs = dg.Definitions(assets=[nothing])
"""
LOAD = "import dagster; import {module} as m; m.defs.get_repository_def().get_all_jobs()"
"""Dagster first, as its own commands have it: what happens in its import is not ours."""


def seconds(module: str, folder: Path) -> float:
    """Wall time of one process that loads a code location and resolves all its jobs."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", LOAD.format(module=module)], cwd=folder, check=True)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "empty_project.py").write_text(EMPTY)
        for _ in range(rounds):
            empty.append(seconds("empty_project", Path(folder)))
            ours.append(seconds("ft_assets.definitions", Path(folder)))
    result = {
        "ours_seconds": round(statistics.median(ours), 3),
        "empty_project_seconds": round(statistics.median(empty), 3),
        "difference_seconds": round(statistics.median(ours) - statistics.median(empty), 3),
        "ratio": round(statistics.median(ours) / statistics.median(empty), 3),
        "rounds": rounds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
