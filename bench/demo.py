"""What the demo takes: wall time, memory of all its processes together, and disk below FT_HOME.

Runs `ft demo --json` once in a home of its own and looks at its processes every half second. Prints
one JSON object; the limits are those that the demo promises.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

EVERY_SECONDS = 0.5
LIMIT_SECONDS = 360
LIMIT_MIB = 6 * 1024


def memory_mib(process: psutil.Process) -> float:
    """Memory of a process and of all its children; a page that several share counts once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:  # ended since it was listed
            continue
    return total / 2**20


def disk_mib(folder: Path) -> float:
    """Disk blocks below a folder; a file with two names counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        try:
            state = path.lstat()
        except FileNotFoundError:
            continue
        blocks[state.st_dev, state.st_ino] = state.st_blocks
    return sum(blocks.values()) * 512 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", help="an empty FT_HOME to keep, such as for pictures of the UI")
    kept = parser.parse_args().home
    with contextlib.nullcontext(kept) if kept else tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("FT_", "DAGSTER_"))}
        environment.pop("OMP_NUM_THREADS", None)
        began = time.monotonic()
        demo = psutil.Popen(
            [str(Path(sys.executable).parent / "ft"), "demo", "--json"],
            env={**environment, "FT_HOME": folder},
            stdout=subprocess.PIPE,
            text=True,
        )
        memory = disk = 0.0
        while demo.poll() is None:
            memory = max(memory, memory_mib(demo))
            disk = max(disk, disk_mib(Path(folder)))
            time.sleep(EVERY_SECONDS)
        seconds = time.monotonic() - began
        result = json.loads(demo.stdout.read())
        left = disk_mib(Path(folder))
    if not result["success"]:
        raise SystemExit(result["error"])
    print(
        json.dumps(
            {
                "wall_seconds": round(seconds, 1),
                "limit_seconds": LIMIT_SECONDS,
                "peak_memory_mib": round(memory),
                "limit_memory_mib": LIMIT_MIB,
                "peak_disk_mib": round(disk),
                "disk_left_mib": round(left),
                "base_loss": round(result["base_loss"], 4),
                "tuned_loss": round(result["tuned_loss"], 4),
                "change": round(result["tuned_loss"] / result["base_loss"] - 1, 4),
                "tokens_per_second": round(result["tokens_per_second"], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
