"""What the platform costs: the wall time of the demo graph minus the time inside its work.

Runs the five assets with a tiny model (the work is short, the platform's part is the same) through
`ft run`, with the work measured inside the processes that do it: ingest and split in the steps, the
training and the evaluation process from their first line to their last. Prints one JSON object.
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
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.tiny_model import make_tiny_model  # noqa: E402

PIPELINE = """\
dataset:
  uri: {root}/examples/python-docs/{{partition}}.jsonl
  split: 0.85
training:
  backend: cpu
  base_model: {model}
  effective_batch_size: 16
  learning_rate: 0.005
  max_seq_len: 256
  max_tokens_per_gpu: 2048
  num_epochs: 1
evaluation: {{tasks: []}}
registry: {{name: overhead}}
kubernetes: {{gpus_per_worker: 0}}
"""


def run(home: Path, pipelines: Path) -> tuple[float, float]:
    """One run of the whole graph: wall seconds, and seconds inside the work."""
    environment = {
        **os.environ,
        "FT_HOME": str(home),
        "FT_PIPELINES": str(pipelines),
        "FT_DATA_ROOTS": str(ROOT),
    }
    environment.pop("DAGSTER_HOME", None)
    began = time.monotonic()
    finished = subprocess.run(
        [Path(sys.executable).parent / "ft", "run", "overhead", "--partition", "drop-1", "--json"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    wall = time.monotonic() - began
    if finished.returncode:
        raise RuntimeError(finished.stderr)
    return wall, sum(json.loads(finished.stdout)["work_seconds"].values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    walls, works = [], []
    with tempfile.TemporaryDirectory() as scratch:
        pipelines = Path(scratch) / "pipelines"
        pipelines.mkdir()
        model = make_tiny_model(Path(scratch) / "model")
        (pipelines / "overhead.yaml").write_text(PIPELINE.format(root=ROOT, model=model))
        for number in range(rounds):
            wall, work = run(Path(scratch) / f"home-{number}", pipelines)
            walls.append(wall)
            works.append(work)
    overhead = [wall - work for wall, work in zip(walls, works, strict=True)]
    result = {
        "wall_seconds": round(statistics.median(walls), 2),
        "work_seconds": round(statistics.median(works), 2),
        "overhead_seconds": round(statistics.median(overhead), 2),
        "overhead_share_of_wall": round(statistics.median(overhead) / statistics.median(walls), 3),
        "limit_seconds": 10,
        "rounds": rounds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
