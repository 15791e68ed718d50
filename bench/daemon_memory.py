"""Memory of the daemon and of its code server while a pipeline's sensor looks again and again.

The sensor daemon's own iteration, with Dagster's clock put forward by the sensor's interval each
time, so that 10,000 looks take minutes and not a week: what is kept per tick (rows, caches,
threads) is kept as in a week. Some drops lie at the source and wait, so that a look does all of
its reading and asks for nothing. Prints one JSON object: resident MiB of both processes after
a tenth of the ticks and after all of them, and the growth between, per 1,000 ticks.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

INTERVAL = 60
NAME = "watched"
ROW = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
PIPELINE = """\
dataset: {{uri: "{folder}/{{partition}}.jsonl", split: 0.8}}
training: {{backend: cpu, base_model: {folder}, effective_batch_size: 8}}
evaluation: {{tasks: []}}
registry: {{name: watched}}
kubernetes: {{gpus_per_worker: 0}}
automation: {{enabled: true, interval: {interval}, quiet: 100000000}}
"""


def prepare(folder: Path, drops: int) -> None:
    """A home, a pipeline whose drops never become quiet, and the environment that shows them."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    data = folder / "data"
    data.mkdir()
    for number in range(drops):
        (data / f"drop-{number:04d}.jsonl").write_text(ROW)
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


def measure(ticks: int) -> dict[str, Any]:
    """The daemon's sensor iteration, ``ticks`` times."""
    import dagster as dg
    from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.sensor import execute_sensor_iteration

    logger = logging.getLogger("daemon_memory")
    logger.setLevel(logging.WARNING)
    target = ModuleTarget(
        module_name="ft_assets.definitions",
        attribute="defs",
        working_directory=str(ROOT),
        location_name="ft_assets",
    )
    found: dict[int, dict[str, float]] = {}
    now = began = time.time()
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        for tick in range(1, ticks + 1):
            now += INTERVAL + 1
            with freeze_time(now):
                list(execute_sensor_iteration(workspace, logger, None, None))
            if tick in (max(1, ticks // 10), ticks):
                found[tick] = resident()
        seconds = time.time() - began
        looked = _looks(instance)
    (first, early), (last, late) = found.items()
    return {
        "ticks": ticks,
        "ticks_kept": looked,
        "seconds_per_tick": round(seconds / ticks, 4),
        "after": {str(first): early, str(last): late},
        "growth_mib_per_1000_ticks": {
            name: round((late[name] - early[name]) / (last - first) * 1000, 3) for name in late
        },
    }


def _looks(instance: Any) -> int:
    """How many ticks the sensor has had; fails where a look failed or found nothing to wait for."""
    from dagster._core.scheduler.instigation import TickStatus

    (state,) = [one for one in instance.all_instigator_state() if one.name == f"{NAME}_new_data"]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    bad = [tick for tick in ticks if tick.status != TickStatus.SKIPPED]
    if bad:
        raise RuntimeError(f"a look ended otherwise than by waiting: {bad[0].tick_data}")
    return len(ticks)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ticks", type=int, default=10_000)
    parser.add_argument("--drops", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch), given.drops)
        result = measure(given.ticks)
        # The code server says on our output that it ends: the result is the last line.
        psutil.wait_procs(psutil.Process().children(recursive=True), timeout=60)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
