"""What the platform costs on a cluster, and how soon it says what is wrong there.

Runs on the tests' control plane (KUBEBUILDER_ASSETS), with PostgreSQL and S3. Overhead of a step:
from the creation of its job to its end, without the seconds inside its work; of an asset of the
tiny pipeline, against an empty op of Dagster's own k8s_job_executor, both in the same namespace.
Time to an event: from a fault to the run's event with its cause. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import dagster as dg  # noqa: E402

from bench import cluster_empty, cluster_faults  # noqa: E402
from tests.support.cluster.control_plane import control_plane  # noqa: E402
from tests.support.cluster.install import platform  # noqa: E402
from tests.support.cluster.node_agent import running_node  # noqa: E402
from tests.support.cluster.platform import Platform  # noqa: E402
from tests.support.postgres import postgres  # noqa: E402
from tests.support.seaweedfs import seaweedfs  # noqa: E402
from tests.support.tiny_model import make_tiny_model  # noqa: E402

LIMIT = 1.1
CHEAP = ["raw_dataset", "split_dataset"]
"""Assets whose work is short and measured: what is left is the platform's."""


def overheads(here: Platform, run_id: str) -> list[float]:
    """Seconds of each step of a run outside its work."""
    begun: dict[str, float] = {}
    work: dict[str, float] = {}
    found: list[float] = []
    for entry in here.instance.all_logs(run_id):
        event, step = entry.dagster_event, entry.step_key
        if event is None or step is None:
            continue
        if event.event_type == dg.DagsterEventType.STEP_WORKER_STARTING:
            begun.setdefault(step, entry.timestamp)
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            metadata = event.step_materialization_data.materialization.metadata
            work[step] = float(metadata["work_seconds"].value)
        elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
            found.append(entry.timestamp - begun[step] - work.get(step, 0.0))
    return found


def compare(here: Platform, rounds: int) -> dict[str, Any]:
    """Empty ops and assets in turn, so that both see the same machine."""
    empty: list[float] = []
    ours: list[float] = []
    for _ in range(rounds):
        launches: list[tuple[list[float], dict[str, Any]]] = [
            (empty, {"job": "chain", "location": "empty", "partition": None}),
            (ours, {"select": CHEAP}),
        ]
        for seconds, launched in launches:
            run_id = here.launch(**launched)
            if not here.wait(run_id, seconds=600).is_success:
                raise RuntimeError(here.explain(run_id))
            seconds.extend(overheads(here, run_id))
    ratio = statistics.median(ours) / statistics.median(empty)
    return {
        "empty_op_seconds": round(statistics.median(empty), 2),
        "asset_overhead_seconds": round(statistics.median(ours), 2),
        "ratio": round(ratio, 3),
        "ratio_limit": LIMIT,
        "empty_ops": rounds * cluster_empty.STEPS,
        "assets": rounds * len(CHEAP),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["overhead", "faults"])
    given = parser.parse_args()
    result: dict[str, Any] = {}
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        plane = running.enter_context(control_plane())
        node = running.enter_context(
            running_node(plane, labels={"ft-assets/node": "shared"}),
        )
        if given.only != "overhead":
            result["seconds_from_fault_to_event"] = cluster_faults.measure(plane, node, folder)
        if given.only != "faults":
            server = running.enter_context(postgres())
            s3 = running.enter_context(seaweedfs())
            model = make_tiny_model(folder / "model")
            further = {"empty": "bench.cluster_empty"}
            with platform(node, server, s3, model, further=further) as here:
                result["overhead"] = compare(here, given.rounds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
