"""Tokens per second of ours on one GPU, against the same call of training_hub made by hand.

SFT on instructlab-training and OSFT on mini-trainer, a model of Qwen2.5-1.5B's shape with random
weights. Ours goes the whole way (``make_plan``, the worker); by hand it is one call with the same
arguments and the same tokens. A process each, in turn; the time is that of the optimizer steps as
the backend itself wrote it down, the first ones left out. The last line is one JSON object.

``--on-cpu`` runs the OSFT half of it at a tiny size without a GPU, to see that everything works.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from bench.gpu.model import make_model, write_rows  # noqa: E402

BACKENDS = {"sft": "instructlab-training", "osft": "mini-trainer"}
SIDES = ("ours", "by_hand")
WARM_UP_STEPS = 3
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
"""Dense bf16 operations per second, by a part of the GPU's name (the makers' data sheets)."""


@dataclass(frozen=True)
class Job:
    """What both sides train."""

    algorithm: str
    base: Path
    rows: Path
    values: dict[str, Any]
    on_cpu: bool


def measure(job: Job, side: str, folder: Path) -> dict[str, float]:
    """Train once in a process of its own; tokens and wall seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plan = _plan(job, folder)
    if side == "ours":
        (folder / "plan.json").write_text(plan.model_dump_json())
        command = ["-m", "ft_assets.training.worker", str(folder / "plan.json")]
    else:
        (folder / "call.json").write_text(json.dumps(call_by_hand(job, plan, folder)))
        command = [str(Path(__file__).with_name("by_hand.py")), str(folder / "call.json")]
    began = time.monotonic()
    with (folder / "output.log").open("w") as log:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=_environment(job, folder),
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{(folder / 'output.log').read_text()[-4000:]}")
    seconds = time.monotonic() - began
    tokens = rate(job.algorithm, folder, tokens_per_row(folder))
    shutil.rmtree(folder / "hf_format")
    return {"tokens_per_second": tokens, "wall_seconds": seconds}


def call_by_hand(job: Job, plan: Any, folder: Path) -> dict[str, Any]:
    """The function of training_hub and its arguments: those of ours, and the tokens of ours."""
    from transformers import AutoTokenizer

    from ft_assets.training import instructlab, mini_trainer
    from ft_assets.training.token_rows import write_token_rows

    backend = instructlab if job.algorithm == "sft" else mini_trainer
    write_token_rows(
        job.rows,
        folder / "tokens" / "data.jsonl",
        AutoTokenizer.from_pretrained(job.base),
        job.values["max_seq_len"],
        plan.mask,
        report=lambda *_, **__: None,
    )
    return {
        "algorithm": job.algorithm,
        "arguments": backend.training_arguments(plan, job.base, folder),
    }


def tokens_per_row(folder: Path) -> float:
    """Mean over the token file that both sides train on."""
    with (folder / "tokens" / "data.jsonl").open() as rows:
        return statistics.fmean(json.loads(row)["len"] for row in rows)


def rate(algorithm: str, folder: Path, per_row: float) -> float:
    """Tokens per second over the steps after the first ones, from the backend's own file."""
    name = {"sft": "training_params_and_metrics_global0.jsonl", "osft": "training_metrics_0.jsonl"}
    lines = [json.loads(line) for line in (folder / name[algorithm]).read_text().splitlines()]
    steps = [line for line in lines if "loss" in line or "avg_loss" in line][WARM_UP_STEPS:]
    if not steps:
        raise SystemExit(f"no more than {WARM_UP_STEPS} steps: take more rows")
    if algorithm == "osft":
        rows = [(line["num_samples"], line["time_per_batch"]) for line in steps]
    else:
        rows = [
            (line["batch_size"], line["batch_size"] / line["overall_throughput"]) for line in steps
        ]
    return per_row * sum(count for count, _ in rows) / sum(seconds for _, seconds in rows)


def utilisation(parameters: int, tokens_per_second: float, gpu: str) -> float | None:
    """Model FLOPs utilisation: 6 operations per parameter and token, over the GPU's peak."""
    peak = next((value for name, value in PEAK.items() if name in gpu), None)
    return 6 * parameters * tokens_per_second / peak if peak else None


def _plan(job: Job, folder: Path) -> Any:
    from ft_assets.config import KubernetesConfig, TrainingConfig
    from ft_assets.training import plan
    from ft_assets.training.base_model import locate

    if job.on_cpu:
        plan.has_nvidia_gpu = lambda: True
    config = {"algorithm": job.algorithm, "backend": BACKENDS[job.algorithm], **job.values}
    return plan.make_plan(
        TrainingConfig.model_validate(config),
        KubernetesConfig(gpus_per_worker=1),
        base_model=locate(
            str(job.base), folder=Path("/"), models=folder, chat_template=None, hf_token_env="X"
        ),
        models_dir=folder / "models",
        train_file=job.rows,
        data_digest="bench",
        train_rows=sum(1 for _ in job.rows.open()),
    )


def _environment(job: Job, folder: Path) -> dict[str, str]:
    from importlib.util import find_spec

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    path = [str(Path(sys.executable).parent), environment["PATH"]]
    if job.on_cpu:
        from tests.support.torchrun_on_cpu import install

        path.insert(0, str(install(folder / "fake")))
        environment["OMP_NUM_THREADS"] = "1"
    if find_spec("flash_attn") is None:
        environment["TESTING"] = "true"  # mini-trainer's word for SDPA
    return {**environment, "PATH": os.pathsep.join(path)}


def _versions() -> dict[str, str]:
    from ft_assets.provenance.record import installed

    return installed(
        (
            "torch",
            "transformers",
            "training-hub",
            "instructlab-training",
            "rhai-innovation-mini-trainer",
            "flash-attn",
            "liger-kernel",
        )
    )


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="qwen2.5-1.5b")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--words", type=int, default=200, help="per row, on average")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--on-cpu", action="store_true")
    given = parser.parse_args()
    if given.on_cpu:
        given.shape, given.rows, given.words, given.batch, given.repeats = "tiny", 32, 10, 4, 1
    gpu = _gpu()
    if gpu == "none" and not given.on_cpu:
        raise SystemExit("there is no GPU: bench/gpu/train.py measures one; see --on-cpu")
    result: dict[str, Any] = {"gpu": gpu, "shape": given.shape, "versions": _versions()}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        parameters = result["parameters"] = make_model(work / "base", given.shape)
        rows = write_rows(work / "rows.jsonl", given.rows, given.words)
        values = {
            "effective_batch_size": given.batch,
            "max_seq_len": 2048,
            "max_tokens_per_gpu": 16_384,
            "learning_rate": 1e-5,
            "warmup_steps": 2,
        }
        for algorithm in ("osft",) if given.on_cpu else BACKENDS:
            job = Job(algorithm, work / "base", rows, values, given.on_cpu)
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for repeat in range(given.repeats):
                for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
                    runs[side].append(measure(job, side, work / "run"))
                    print(algorithm, side, runs[side][-1], file=sys.stderr)
            result[algorithm] = summary(runs, parameters, gpu)
    print(json.dumps(result))


def summary(
    runs: dict[str, list[dict[str, float]]], parameters: int, gpu: str
) -> dict[str, float | None]:
    """Medians of both sides, their ratio, and ours over the GPU's peak."""
    medians = {
        side: {name: statistics.median(run[name] for run in taken) for name in taken[0]}
        for side, taken in runs.items()
    }
    ours, by_hand = (medians[side]["tokens_per_second"] for side in SIDES)
    return {
        "tokens_per_second": ours,
        "tokens_per_second_by_hand": by_hand,
        "throughput_ratio": ours / by_hand,
        "mfu": utilisation(parameters, ours, gpu),
        "wall_seconds": medians["ours"]["wall_seconds"],
        "wall_seconds_by_hand": medians["by_hand"]["wall_seconds"],
    }


if __name__ == "__main__":
    main()
