"""Memory of the daemon and of its code server while a sensor looks again and again.

A pipeline's sensor, and in turn plain Dagster's own way to look at a folder (``plain_drops.py``),
each with a daemon, a code server and an instance of its own, with SQLite and with PostgreSQL.

The sensor daemon's own iteration, with Dagster's clock put forward by the sensor's interval each
time, so that 10,000 looks take minutes and not a week: what is kept per tick (rows, caches,
threads) is kept as in a week. Some drops lie at the source and wait, so that a look does all of
its reading and asks for nothing. Prints one JSON object: for each storage and side, resident MiB
of both processes after each tenth of the ticks; the growth per 1,000 ticks from the first tenth to
the last, and in the second half alone, where caches are full.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.many_drops import names, write_instance  # noqa: E402
from tests.support.postgres import Postgres, postgres  # noqa: E402

STORAGES = ("sqlite", "postgres")
INTERVAL = 60
NAME = "watched"
SENSORS = {
    "ours": ("ft_assets.definitions", f"{NAME}_new_data"),
    "plain": ("bench.plain_drops", "plain_new_data"),
}
"""By side: the module of the code location, and its sensor."""
ROW = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
PIPELINE = """\
dataset: {{uri: "{folder}/{{partition}}.jsonl", split: 0.8}}
training: {{backend: cpu, base_model: {folder}, effective_batch_size: 8}}
evaluation: {{tasks: []}}
registry: {{name: watched}}
kubernetes: {{gpus_per_worker: 0}}
automation: {{enabled: true, interval: {interval}, quiet: 100000000}}
"""


def prepare(folder: Path, drops: int, storage: dict[str, Any] | None) -> None:
    """A home, a pipeline whose drops never become quiet, and the environment that shows them.

    Args:
        storage: as ``dagster.yaml`` has it; None for the SQLite that is there.
    """
    home = folder / "dagster"
    write_instance(home, storage)
    data = folder / "data"
    data.mkdir()
    for drop in names(drops):
        (data / f"{drop}.jsonl").write_text(ROW)
    pipelines = folder / "pipelines"
    pipelines.mkdir()
    text = PIPELINE.format(folder=data, interval=INTERVAL)
    (pipelines / f"{NAME}.yaml").write_text(text)
    os.environ.update(
        {
            "DAGSTER_HOME": str(home),
            "FT_HOME": str(folder / "home"),
            "FT_PIPELINES": str(pipelines),
            "FT_DATA_ROOTS": str(data),
            "PLAIN_FOLDER": str(data),
        }
    )


def resident() -> dict[str, float]:
    """MiB of this process, which does the daemon's part, and of the code server below it."""
    gc.collect()
    daemon = psutil.Process()
    servers = daemon.children(recursive=True)
    return {
        "daemon_mib": round(daemon.memory_info().rss / 2**20, 1),
        "code_server_mib": round(sum(one.memory_info().rss for one in servers) / 2**20, 1),
    }


def measure(side: str, ticks: int, drops: int) -> dict[str, Any]:
    """The daemon's sensor iteration, ``ticks`` times."""
    import dagster as dg
    from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.sensor import execute_sensor_iteration

    logger = logging.getLogger("daemon_memory")
    logger.setLevel(logging.WARNING)
    module, sensor = SENSORS[side]
    target = ModuleTarget(
        module_name=module, attribute="defs", working_directory=str(ROOT), location_name=side
    )
    found: dict[int, dict[str, float]] = {}
    now = began = time.time()
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        if side == "plain":  # which asks for a run of each drop that is no partition
            instance.add_dynamic_partitions("plain_drops", names(drops))
            _switch_on(workspace, sensor)
        for tick in range(1, ticks + 1):
            now += INTERVAL + 1
            with freeze_time(now):
                list(execute_sensor_iteration(workspace, logger, None, None))
            if tick % max(1, ticks // 10) == 0 or tick == ticks:
                found[tick] = resident()
                print(side, tick, found[tick], file=sys.stderr, flush=True)
        seconds = time.time() - began
        looked = _looks(instance, sensor)
    measured = list(found.items())
    return {
        "ticks": ticks,
        "ticks_kept": looked,
        "seconds_per_tick": round(seconds / ticks, 4),
        "after": {str(tick): resident for tick, resident in measured},
        "growth_mib_per_1000_ticks": _growth(measured),
        "growth_mib_per_1000_ticks_second_half": _growth(
            measured[max(0, len(measured) // 2 - 1) :]
        ),
    }


def _growth(measured: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """From the first to the last of them."""
    (first, early), (last, late) = measured[0], measured[-1]
    return {
        name: round((late[name] - early[name]) / max(1, last - first) * 1000, 3) for name in late
    }


def _switch_on(workspace: Any, sensor: str) -> None:
    """As a person does in the UI; a pipeline's own YAML says it for ours."""
    (location,) = workspace.create_request_context().code_locations
    (repository,) = location.get_repositories().values()
    workspace.instance.start_sensor(repository.get_sensor(sensor))


def _looks(instance: Any, sensor: str) -> int:
    """How many ticks the sensor has had; fails where a look failed or asked for something."""
    from dagster._core.scheduler.instigation import TickStatus

    (state,) = [one for one in instance.all_instigator_state() if one.name == sensor]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    bad = [tick for tick in ticks if tick.status != TickStatus.SKIPPED]
    if bad:
        raise RuntimeError(f"a look ended otherwise than by waiting: {bad[0].tick_data}")
    return len(ticks)


def apart(side: str, storage: dict[str, Any] | None, given: argparse.Namespace) -> dict[str, Any]:
    """One side in a process of its own."""
    options = ["--ticks", str(given.ticks), "--drops", str(given.drops)]
    command = [sys.executable, __file__, "--side", side, json.dumps(storage), *options]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ticks", type=int, default=10_000)
    parser.add_argument("--drops", type=int, default=50)
    parser.add_argument("--storages", choices=STORAGES, nargs="+", default=STORAGES)
    parser.add_argument("--sides", choices=SENSORS, nargs="+", default=list(SENSORS))
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side is None:
        with postgres() as server:
            result = {
                name: {side: apart(side, _storage(name, server), given) for side in given.sides}
                for name in given.storages
            }
    else:
        side, storage = given.side
        with tempfile.TemporaryDirectory() as scratch:
            prepare(Path(scratch), given.drops, json.loads(storage))
            result = measure(side, given.ticks, given.drops)
            # The code server says on our output that it ends: the result is the last line.
            psutil.wait_procs(psutil.Process().children(recursive=True), timeout=60)
    print(json.dumps(result))


def _storage(name: str, server: Postgres) -> dict[str, Any] | None:
    """A database of its own for each side; None for SQLite."""
    return server.new_database().dagster_storage() if name == "postgres" else None


if __name__ == "__main__":
    main()
