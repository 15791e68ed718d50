"""What many drops cost, beside plain Dagster with the same five assets and as many partitions.

Measures, on SQLite and on PostgreSQL, at each count of dynamic partitions: loading the code
location in a process of its own, the query of an asset's page (the UI's own PartitionHealthQuery,
and the counts that the graph shows) and a tick of the sensor that finds nothing new. The two sides
take turns in one run. Every drop counts as materialized: the rows of one real run, copied in the
event log. Prints one JSON object: medians in seconds, and ratios (asked for: at most 1.2).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.many_drops import (  # noqa: E402
    NAME,
    PIPELINES,
    SIDES,
    copy_events,
    materialize_one,
    names,
    settle,
    write_instance,
)
from tests.support.postgres import postgres  # noqa: E402

LIMIT = 1.2
LOOKS = 10
"""Looks in each round: one takes a fiftieth of a second, no more than a hiccup of the machine."""
PIPELINE = """\
dataset: {{uri: "{folder}/{{partition}}.jsonl", split: 0.8}}
training: {{backend: cpu, base_model: {folder}, effective_batch_size: 8}}
evaluation: {{tasks: []}}
registry: {{name: many}}
kubernetes: {{gpus_per_worker: 0}}
automation: {{quiet: 0}}
"""
ROW = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
LOAD = "import dagster; import {module} as m; m.defs.get_repository_def().get_all_jobs()"
"""Dagster first, as its own commands have it: what happens in its import is not ours."""
PAGE = """
query PartitionHealthQuery($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      id
      partitionKeysByDimension { name type partitionKeys }
      assetPartitionStatuses {
        ... on DefaultPartitionStatuses {
          materializedPartitions materializingPartitions failedPartitions
        }
      }
    }
  }
}
"""
COUNTS = """
query GraphCounts($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      id
      partitionStats { numMaterialized numPartitions numFailed numMaterializing }
    }
  }
}
"""


def compare(measures: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Each side once to warm up (the first of the two is reported), then in turn."""
    first = {side: seconds(measure) for side, measure in measures.items()}
    taken: dict[str, list[float]] = {side: [] for side in measures}
    for _ in range(rounds):
        for side, measure in measures.items():
            taken[side].append(seconds(measure))
    median = {side: statistics.median(values) for side, values in taken.items()}
    return {
        "plain_seconds": round(median["plain"], 4),
        "ours_seconds": round(median["ours"], 4),
        "ratio": round(median["ours"] / median["plain"], 3),
        "first_plain_seconds": round(first["plain"], 4),
        "first_ours_seconds": round(first["ours"], 4),
    }


def seconds(measure: Callable[[], object]) -> float:
    began = time.monotonic()
    measure()
    return time.monotonic() - began


def load(module: str) -> None:
    """One process that loads a code location and resolves all its jobs."""
    subprocess.run([sys.executable, "-c", LOAD.format(module=module)], cwd=ROOT, check=True)


def ticks(cursor: str, rounds: int) -> dict[str, Any]:
    """A look at a source with nothing new: ours from its cursor, the plain one has none."""
    import dagster as dg

    from ft_assets.code_location import default_resources

    sources = default_resources()["sources"]
    with dg.DagsterInstance.get() as instance:
        cursors: dict[str, str | None] = {"plain": None, "ours": cursor}

        def look(side: str) -> None:
            definitions: dg.Definitions = __import__(SIDES[side], fromlist=["defs"]).defs
            repository = definitions.get_repository_def()
            sensor = repository.get_sensor_def(f"{PIPELINES[side]}_new_data")
            with dg.build_sensor_context(
                instance=instance,
                cursor=cursors[side],
                repository_def=repository,
                sensor_name=sensor.name,
                resources={"sources": sources} if side == "ours" else {},
            ) as context:
                data = sensor.evaluate_tick(context)
            if data.run_requests:
                raise RuntimeError(f"{side}: there is nothing new, and runs are asked for")
            if side == "ours":
                cursors[side] = data.cursor

        return compare({side: partial(look, side) for side in SIDES}, rounds)


def queries(rounds: int) -> dict[str, Any]:
    """The pages' queries, each with a request context of its own, as the webserver has it."""
    import dagster as dg
    from dagster_graphql.test.utils import execute_dagster_graphql

    with dg.DagsterInstance.get() as instance, ExitStack() as opened:
        workspaces = {
            side: opened.enter_context(workspace(instance, module))
            for side, module in SIDES.items()
        }

        def ask(side: str, query: str) -> None:
            execute_dagster_graphql(
                workspaces[side].create_request_context(),
                query,
                variables={"assetKey": {"path": [PIPELINES[side], "raw_dataset"]}},
            )

        return {
            name: compare({side: partial(ask, side, query) for side in SIDES}, rounds)
            for name, query in (("asset_page", PAGE), ("graph_counts", COUNTS))
        }


@contextmanager
def workspace(instance: Any, module: str) -> Generator[Any]:
    """A workspace of one code location in this process."""
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._core.workspace.context import WorkspaceProcessContext

    origin = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=module, attribute="defs"
    )
    target = InProcessTestWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin))
    with WorkspaceProcessContext(instance, target) as process:
        yield process


def measure(folder: Path, count: int, storage: dict[str, Any] | None, rounds: int) -> dict:
    """All figures at one count, on a new instance."""
    home = folder / "dagster"
    write_instance(home, storage)
    data = folder / "data"
    data.mkdir()
    drops = names(count)
    for drop in drops:
        (data / f"{drop}.jsonl").write_text(ROW)
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / f"{NAME}.yaml").write_text(PIPELINE.format(folder=data))
    os.environ.update(
        {
            "DAGSTER_HOME": str(home),
            "FT_HOME": str(folder / "home"),
            "FT_PIPELINES": str(folder / "pipelines"),
            "FT_DATA_ROOTS": str(data),
            "PLAIN_FOLDER": str(data),
        }
    )
    for side in SIDES:
        materialize_one(side, drops[0])
        copy_events(side, drops[0], drops[1:])
    return {
        "code_location_load": compare(
            {side: partial(load, module) for side, module in SIDES.items()}, rounds
        ),
        **queries(rounds),
        "sensor_tick": ticks(settle(drops), LOOKS * rounds),
    }


def in_a_process(folder: Path, count: int, storage: dict[str, Any] | None, rounds: int) -> Any:
    """The same in a process of its own: definitions read their environment once."""
    given = json.dumps([str(folder), count, storage, rounds])
    done = subprocess.run(
        [sys.executable, __file__, "--measure", given], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        folder, count, storage, rounds = json.loads(given.measure)
        print(json.dumps(measure(Path(folder), count, storage, rounds)))
        return
    result: dict[str, Any] = {"ratio_limit": LIMIT, "rounds": given.rounds}
    with tempfile.TemporaryDirectory() as scratch, postgres() as server:
        for count in given.counts:
            result[str(count)] = {
                name: in_a_process(Path(scratch) / f"{name}-{count}", count, storage, given.rounds)
                for name, storage in (
                    ("sqlite", None),
                    ("postgres", server.new_database().dagster_storage()),
                )
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
