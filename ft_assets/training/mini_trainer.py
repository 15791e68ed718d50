"""Orthogonal subspace fine-tuning on NVIDIA GPUs: training_hub's ``osft`` on mini-trainer.

Only the training process imports this module. The backend starts torchrun itself; this process
waits, follows the metrics file and verifies what was written.
"""

from __future__ import annotations

# training_hub and mini-trainer have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
import json
import os
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from ft_assets.training.estimate.architecture import kinds_of, linear_weights
from ft_assets.training.estimate.headers import folder_headers
from ft_assets.training.estimate.trained import osft_patterns
from ft_assets.training.following import following
from ft_assets.training.gpu_states import Epochs, mend_mini_trainer_states, written_states
from ft_assets.training.model_choice import (
    MODELS,
    choose,
    forget_choice,
    forget_models,
    record_choice,
)
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from ft_assets.training.token_rows import TokenCounts, write_token_rows
from ft_assets.training.torchrun import call, outcome, prepare, profiled, tail
from resources.errors import UserError
from resources.launcher.child import Reporter

_TOKENS = "tokens"
_THEIR_METRICS = "training_metrics_{node}.jsonl"
_THEIR_LOG = "training_log_node{node}.log"
_FINAL_LOSS = re.compile(r"^.*Final validation loss: (\S+)", re.MULTILINE)


def train_with_mini_trainer(
    plan: TrainPlan,
    base: Path,
    run_dir: Path,
    report: Reporter,
    prepared: Callable[[], None] = lambda: None,
) -> TrainOutcome:
    """Train through ``training_hub.osft`` and return the verified outcome.

    ``prepared`` is called when everything is there that other nodes read.

    Raises:
        UserError: no model was written, or one that is not whole; or the run was unhealthy, or
            failed for a reason that its input can mend.
        KeyboardInterrupt: it was told to end, and has saved its state.
    """
    prepare(plan, run_dir)
    patterns = target_patterns(plan, base)
    flash = _attention()
    from training_hub import osft

    forget_choice(run_dir)
    counts = _write_tokens(plan, base, run_dir / _TOKENS, report)
    arguments = {**training_arguments(plan, base, run_dir), "target_patterns": patterns}
    batch, epochs = (int(plan.parameters[n]) for n in ("effective_batch_size", "num_epochs"))
    states = run_dir / "full_state_checkpoints"
    before = mend_mini_trainer_states(
        states,
        Epochs(counts.rows, batch, epochs),
        saves_at_the_end=bool(plan.parameters["save_final_checkpoint"]),
    )
    there = written_states(states)
    if not any(states.glob("step_*")):
        forget_models(run_dir)
    node = plan.parameters.get("node_rank", 0)
    theirs, log = (run_dir / name.format(node=node) for name in (_THEIR_METRICS, _THEIR_LOG))
    prepared()
    with following(theirs, run_dir, _Lines(epochs, before), plan, report) as followed:
        call(partial(osft, **arguments), plan, log)
    if not _ended(run_dir / MODELS, counts.rows * epochs):
        if written_states(states) - there:
            raise KeyboardInterrupt  # it saved its state on a signal, and its function returned
        raise UserError(
            "mini-trainer wrote no model of the last step; its log, above in this step's output, "
            "says why"
        )
    if final := _FINAL_LOSS.search(tail(log)):
        followed.measured_at_the_end(float(final[1]))
    folder = choose(run_dir, plan.checkpoint_choice)
    drop_buffers(folder)
    record_choice(
        run_dir,
        folder,
        plan.checkpoint_choice,
        held_out_loss=followed.held_out_loss_of(plan.checkpoint_choice),
    )
    attention = "flash_attention_2" if flash else "sdpa"
    return outcome(plan, base, run_dir, followed, counts, model=folder, attention=attention)


def train_beside(plan: TrainPlan, base: Path, run_dir: Path) -> None:
    """Train as a node beside the first, which prepares, follows and verifies.

    Raises:
        UserError: the run failed for a reason that its input can mend.
    """
    node = plan.parameters["node_rank"]
    prepare(plan, run_dir)
    patterns = target_patterns(plan, base)
    _attention()
    from training_hub import osft

    arguments = {**training_arguments(plan, base, run_dir), "target_patterns": patterns}
    call(partial(osft, **arguments), plan, run_dir / _THEIR_LOG.format(node=node))


def _attention() -> bool:
    """Whether FlashAttention is used; call it before mini-trainer is imported."""
    if find_spec("flash_attn") is not None:
        return True
    os.environ["TESTING"] = "true"  # its word for SDPA; without it the import fails
    return False


def target_patterns(plan: TrainPlan, base: Path) -> list[str]:
    """The patterns that choose the matrices, always named: mini-trainer would read them in a path.

    Raises:
        UserError: a pattern is in no name of the base model's linear weights.
    """
    config = json.loads((base / "config.json").read_text())
    linear = linear_weights((name, shape) for name, _, shape in folder_headers(base))
    named = plan.parameters.get("target_patterns", ())
    return list(osft_patterns(kinds_of(config), linear, named))


def training_arguments(plan: TrainPlan, base: Path, run_dir: Path) -> dict[str, Any]:
    """What ``training_hub.osft`` is called with beside the patterns of the base model's kind."""
    arguments = profiled(plan.parameters, plan, run_dir)
    arguments.pop("validation_rows", None)  # ours: how many rows the file below has
    if arguments.get("validation_frequency"):
        arguments["validation_data_path"] = str(run_dir / _TOKENS / "held-out.jsonl")
    return {
        "model_path": str(base),
        "data_path": str(run_dir / _TOKENS / "data.jsonl"),
        "ckpt_output_dir": str(run_dir),
        "backend": "mini-trainer",
        **arguments,
    }


def _ended(folder: Path, samples: int) -> bool:
    """Whether there is a model of the last step; the number is written as 64.0."""
    names = (f"samples_{float(samples)}", f"samples_{float(samples)}_best_val_loss")
    return any((folder / name).is_dir() for name in names)


def drop_buffers(folder: Path) -> None:
    """Take out of a saved model what is no weight: mini-trainer also saves rotary frequencies.

    They follow from the config, and a standard checkpoint does not have them.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    dropped: set[str] = set()
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(str(shard), framework="pt") as tensors:
            buffers = {name for name in tensors.keys() if name.endswith("inv_freq")}  # noqa: SIM118
        if buffers:
            weights = load_file(shard)
            partial = shard.with_name(shard.name + ".partial")
            kept = {name: weights[name] for name in weights.keys() - buffers}
            save_file(kept, partial, metadata={"format": "pt"})
            partial.replace(shard)
            dropped |= buffers
    index = folder / "model.safetensors.index.json"
    if dropped and index.exists():
        content = json.loads(index.read_text())
        shards: dict[str, str] = content["weight_map"]
        content["weight_map"] = {n: file for n, file in shards.items() if n not in dropped}
        partial = index.with_name(index.name + ".partial")
        partial.write_text(json.dumps(content, indent=2, sort_keys=True))
        partial.replace(index)


def _write_tokens(plan: TrainPlan, base: Path, folder: Path, report: Reporter) -> TokenCounts:
    """The files that its ``use_processed_dataset`` reads, with our masks.

    Raises:
        UserError: there is nothing to train on, or nothing to measure.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
    max_seq_len = int(plan.parameters["max_seq_len"])
    rest = (tokenizer, max_seq_len, plan.mask)
    train, target = Path(plan.train_file), folder / "data.jsonl"
    counts = write_token_rows(train, target, *rest, report=report)
    if plan.parameters.get("validation_frequency"):
        assert plan.held_out_file is not None, "the plan refuses to measure what is not there"
        rows = _first_rows(
            Path(plan.held_out_file), folder / "held-out-rows.jsonl", plan.parameters
        )
        try:
            write_token_rows(rows, folder / "held-out.jsonl", *rest, report=report)
        except UserError as error:
            raise UserError(
                f"training.validation_steps: no held-out row can be measured: {error}"
            ) from error
    return counts


def _first_rows(source: Path, target: Path, parameters: dict[str, Any]) -> Path:
    with source.open("rb") as rows, target.open("wb") as some:
        some.writelines(islice(rows, int(parameters["validation_rows"])))
    return target


class _Lines:
    """What the lines of its metrics file say of a step."""

    def __init__(self, epochs: int, before: int = 0) -> None:
        self._epochs = epochs
        self._before = before  # steps that were done before those that it counts

    def __call__(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """Every line is a step; its ``val_loss`` is the last one measured, seldom at this step."""
        per_epoch, step = line["steps_per_epoch"], self._before + line["step"]
        return {
            "time": datetime.fromisoformat(line["timestamp"]).timestamp(),
            "step": step,
            "total_steps": per_epoch * self._epochs,
            "epoch": round(step / per_epoch, 4),
            "loss": line["loss"],
            "held_out_loss": line["val_loss"] if "val_num_samples" in line else None,
            "learning_rate": line["lr"],
            "grad_norm": line["grad_norm"],
            "tokens": int(line["num_total_tokens"]),
            "trained_tokens": int(line["batch_num_loss_counted_tokens"]),
            "memory_mib": line["peak_memory_usage_GB"] * 1e9 / 2**20,
            "seconds": line["time_per_batch"],
        }
