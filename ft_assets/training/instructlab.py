"""Supervised fine-tuning on NVIDIA GPUs: training_hub's ``sft`` on instructlab-training.

Only the training process imports this module. The backend starts torchrun itself; this process
waits, follows the metrics file and verifies what was written.
"""

from __future__ import annotations

# training_hub and instructlab-training have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
import json
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ft_assets.training.outcome import TrainOutcome, verify_model
from ft_assets.training.plan import TrainPlan
from ft_assets.training.token_rows import TokenCounts, write_token_rows
from resources.errors import UserError
from resources.launcher.child import Reporter

_POLL_SECONDS = 2.0
_TOKENS = "tokens"
_THEIR_METRICS = "training_params_and_metrics_global0.jsonl"


def train_with_instructlab(
    plan: TrainPlan, base: Path, run_dir: Path, report: Reporter
) -> TrainOutcome:
    """Train through ``training_hub.sft`` and return the verified outcome.

    Raises:
        UserError: no model was written, or one that is not whole.
    """
    from training_hub import sft

    began = time.monotonic()
    counts = _write_tokens(plan, base, run_dir / _TOKENS, report)
    with _following(run_dir, report) as steps:
        sft(
            model_path=str(base),
            data_path=plan.train_file,
            data_output_dir=str(run_dir / _TOKENS),
            ckpt_output_dir=str(run_dir),
            backend="instructlab-training",
            **_arguments(plan.parameters),
        )
    # Without torchrun on the path, for one, sft() logs an error and returns: look at the model.
    folder = _last_model(run_dir / "hf_format")
    if folder is None:
        raise UserError(
            "instructlab-training wrote no model; its log, above in this step's output, says why"
        )
    verify_model(folder)
    return _outcome(plan, base, folder, steps, counts, seconds=time.monotonic() - began)


def _write_tokens(plan: TrainPlan, base: Path, folder: Path, report: Reporter) -> TokenCounts:
    """The file that instructlab-training's own data processing would make, with our masks.

    Its own knows neither ``roles_to_train`` nor flags of single turns, never shows tools to the
    chat template, and drops rows with a line in a log.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
    max_seq_len = int(plan.parameters["max_seq_len"])
    return write_token_rows(
        Path(plan.train_file),
        folder / "data.jsonl",
        tokenizer,
        max_seq_len,
        plan.mask,
        report=report,
    )


def _arguments(parameters: dict[str, Any]) -> dict[str, Any]:
    """The plan's parameters with the objects that the backend wants in place of names."""
    from instructlab.training.config import FSDPOptions, ShardingStrategies

    arguments = dict(parameters)
    strategy = arguments.pop("fsdp_sharding_strategy", None)
    if strategy is not None:
        arguments["fsdp_options"] = FSDPOptions(sharding_strategy=ShardingStrategies(strategy))
    if find_spec("flash_attn") is None:
        arguments["disable_flash_attn"] = True  # SDPA instead
    return arguments


def _last_model(folder: Path) -> Path | None:
    """The model after the most samples, by its name: ``samples_N``."""
    models = [path for path in folder.glob("samples_*") if re.fullmatch(r"samples_\d+", path.name)]
    return max(models, key=lambda path: int(path.name.removeprefix("samples_")), default=None)


@contextmanager
def _following(run_dir: Path, report: Reporter) -> Generator[list[dict[str, Any]]]:
    """Translate the backend's metrics into ours while the block runs; yields the steps so far."""
    steps: list[dict[str, Any]] = []
    stop = threading.Event()
    (run_dir / _THEIR_METRICS).unlink(missing_ok=True)  # their log appends to an earlier run's
    (run_dir / "metrics.jsonl").write_text("")

    def follow() -> None:
        seen = 0
        while True:
            last_round = stop.wait(_POLL_SECONDS)
            seen = _translate(run_dir, seen, steps, report)
            if last_round:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield steps
    finally:
        stop.set()
        thread.join()


def _translate(run_dir: Path, seen: int, steps: list[dict[str, Any]], report: Reporter) -> int:
    """Pass on the complete lines after the first ``seen`` bytes; returns how far it read."""
    theirs = run_dir / _THEIR_METRICS
    if not theirs.exists():
        return seen
    with theirs.open("rb") as stream:
        stream.seek(seen)
        fresh = stream.read()
    complete = fresh[: fresh.rfind(b"\n") + 1]
    for line in complete.splitlines():
        metrics = json.loads(line)
        if "avg_loss" in metrics:  # the first lines hold parameters
            ours = _our_schema(metrics)
            steps.append(ours)
            with (run_dir / "metrics.jsonl").open("a") as stream:
                stream.write(json.dumps(ours) + "\n")
            report("train", ours["step"], ours["total_steps"], **ours)
    return seen + len(complete)


def _our_schema(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": time.time(),
        "step": metrics["step"],
        "total_steps": metrics.get("num_epoch_steps", 0),
        "epoch": metrics["epoch"],
        "loss": metrics["avg_loss"],
        "learning_rate": metrics["lr"],
        "grad_norm": metrics.get("gradnorm"),
        "samples": metrics["samples_seen"],
        "samples_per_second": metrics.get("overall_throughput"),
        "memory_gib": metrics.get("cuda_mem_allocated"),
    }


def _outcome(
    plan: TrainPlan,
    base: Path,
    folder: Path,
    steps: list[dict[str, Any]],
    counts: TokenCounts,
    *,
    seconds: float,
) -> TrainOutcome:
    """The outcome; time includes what the backend does beside optimizer steps."""
    from ft_assets.provenance.record import installed

    epochs = int(plan.parameters["num_epochs"])
    return TrainOutcome(
        model_dir=f"hf_format/{folder.name}",
        base_model_dir=str(base),
        steps=int(steps[-1]["step"]) if steps else 0,
        epochs=float(epochs),
        rows=counts.rows,
        rows_too_long=counts.rows_too_long,
        rows_untrained=counts.rows_untrained,
        rows_cut=counts.rows_cut,
        tokens=counts.tokens * epochs,
        trained_tokens=counts.trained_tokens * epochs,
        train_seconds=seconds,
        tokens_per_second=counts.tokens * epochs / seconds if seconds else None,
        first_loss=float(steps[0]["loss"]) if steps else None,
        last_loss=float(steps[-1]["loss"]) if steps else None,
        peak_memory_mib=max((float(s["memory_gib"] or 0) for s in steps), default=0.0) * 1024,
        resumed_from_step=0,
        settings=dict(installed(("torch", "instructlab-training", "training-hub"))),
    )
