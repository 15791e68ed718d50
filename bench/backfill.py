"""What a drop of a backfill costs beside its work, and beside a graph of empty assets.

A backfill of drops of the tiny pipeline through `ft backfill`: its wall time without the seconds
inside the work (each asset's work_seconds). Beside it the same number of drops of the five empty
assets of bench/plain_drops.py, one run after the other out of one process, as `ft` does it: with
Dagster's default executor, which starts a process for each step, and with its steps in the same
process. All count the start of their process. Then the same drops once more, with nothing changed.
With --daemon, Dagster's own backfill of both instead, by one daemon. Prints one JSON object;
orchestration_ratio_to_* is ours to the empty graph's, per asset.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.tiny_pipeline import (  # noqa: E402
    NAME,
    TinyPipeline,
    clean_environment,
    make_tiny_pipeline,
)

PROGRAMS = Path(sys.executable).parent
ASSETS = {"plain": 5, "ours": 7}
HERE = """\
import sys
import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import execute_run_iterator

executor, *drops = sys.argv[1:]
execution = {"execution": {"config": {"in_process": {}}}} if executor == "in_process" else {}
with dg.DagsterInstance.get() as instance:
    job = ReconstructableRepository.for_module("bench.plain_drops", "defs")
    job = job.get_reconstructable_job("plain")
    for drop in drops:
        instance.add_dynamic_partitions("plain_drops", [drop])
        run = instance.create_run_for_job(
            job_def=job.get_definition(),
            run_config={
                **execution, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}
            },
            tags={"dagster/partition": drop},
            job_code_origin=job.get_python_origin(),
        )
        for event in execute_run_iterator(job, run, instance):
            assert not event.is_failure, event
"""
DAEMON = """\
import sys, time
import dagster as dg
from bench.plain_drops import defs
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, PartitionBackfill

with dg.DagsterInstance.get() as instance:
    drops = sys.argv[1:]
    instance.add_dynamic_partitions("plain_drops", drops)
    graph = defs.resolve_asset_graph()
    instance.add_backfill(PartitionBackfill.from_asset_partitions(
        backfill_id="plainbkf", asset_graph=graph, partition_names=drops,
        asset_selection=sorted(graph.get_all_asset_keys()), backfill_timestamp=time.time(), tags={},
        dynamic_partitions_store=instance, all_partitions=False, title=None, description=None,
        run_config=None,
    ))
    while (found := instance.get_backfill("plainbkf")).status not in BULK_ACTION_TERMINAL_STATUSES:
        time.sleep(2)
    assert found.status.value == "COMPLETED_SUCCESS", found
"""


def write_drop(pipeline: TinyPipeline, drop: str) -> None:
    """The same rows in other words, so that no drop holds a row of another one."""
    file = pipeline.write_drop(drop).data / f"{drop}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["messages"][0]["content"] += f" (asked in {drop})"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def plain(pipeline: TinyPipeline, drops: Sequence[str], *, by: str) -> float:
    """Seconds for the empty assets of these drops, in a process of its own.

    Args:
        pipeline: whose instance is used.
        drops: which ones.
        by: ``daemon``, or the executor of runs out of one process: ``default``, ``in_process``.
    """
    program = [DAEMON] if by == "daemon" else [HERE, by]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", *program, *drops],
        env=clean_environment(pipeline.dagster_environment),
        cwd=ROOT,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def ours(pipeline: TinyPipeline, drops: Sequence[str], *, daemon: bool) -> tuple[float, float]:
    """Wall seconds of a backfill of these drops, and seconds inside its work."""
    began = time.monotonic()
    where = [] if daemon else ["--here"]
    done = pipeline.ft("backfill", NAME, "--drops", ",".join(drops), "--json", *where, timeout=3600)
    wall = time.monotonic() - began
    if done.exit_code:
        raise RuntimeError(done.stderr)
    return wall, sum(drop["work_seconds"] for drop in done.json["drops"])


@contextmanager
def daemon_of(pipeline: TinyPipeline, module: str) -> Generator[None]:
    """Dagster's daemon on the pipeline's instance, with one code location."""
    import dagster as dg

    process = subprocess.Popen(
        [str(PROGRAMS / "dagster-daemon"), "run", "--module-name", module],
        env=clean_environment(pipeline.dagster_environment),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with dg.DagsterInstance.from_config(str(pipeline.home / "dagster")) as instance:
            while "BACKFILL" not in instance.get_daemon_heartbeats():
                assert process.poll() is None, "the daemon ended"
                time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait()


def figures(
    drops: int, plain_seconds: dict[str, float], runs: dict[str, tuple[float, float]]
) -> Any:
    """Per drop and per asset."""
    empty = {by: seconds / drops for by, seconds in plain_seconds.items()}
    result: dict[str, Any] = {
        "empty_assets_seconds_per_drop": {by: round(each, 3) for by, each in empty.items()}
    }
    for name, (wall, work) in runs.items():
        each = (wall - work) / drops
        result[name] = {
            "wall_seconds": round(wall, 2),
            "work_seconds": round(work, 2),
            "orchestration_seconds_per_drop": round(each, 3),
            **{
                f"orchestration_ratio_to_{by}": round(
                    (each / ASSETS["ours"]) / (seconds / ASSETS["plain"]), 2
                )
                for by, seconds in empty.items()
            },
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--drops", type=int, default=20)
    parser.add_argument("--daemon", action="store_true", help="through Dagster's own daemon")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    drops = [f"drop-{number}" for number in range(1, given.drops + 1)]
    with tempfile.TemporaryDirectory() as scratch:
        pipeline = make_tiny_pipeline(Path(scratch) / "tiny")
        pipeline.write(
            {"promotion": {"against_champion": "not_worse", "primary_margin": 99, "min_samples": 3}}
        )
        for drop in drops:
            write_drop(pipeline, drop)
        pipeline.ft("check")  # makes the instance
        runs: dict[str, tuple[float, float]] = {}
        if given.daemon:
            with daemon_of(pipeline, "bench.plain_drops"):
                empty = {"daemon": plain(pipeline, drops, by="daemon")}
            with daemon_of(pipeline, "ft_assets.definitions"):
                for name in ("first", "nothing_changed"):
                    runs[name] = ours(pipeline, drops, daemon=True)
        else:
            empty = {"default": plain(pipeline, drops, by="default")}
            empty["in_process"] = plain(pipeline, drops, by="in_process")
            for name in ("first", "nothing_changed"):
                runs[name] = ours(pipeline, drops, daemon=False)
    through = "daemon" if given.daemon else "one process"
    result = {"drops": given.drops, "through": through, **figures(given.drops, empty, runs)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
