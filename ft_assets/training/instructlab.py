"""Supervised fine-tuning on NVIDIA GPUs: training_hub's ``sft`` on instructlab-training.

Only the training process imports this module. The backend starts torchrun itself; this process
waits, follows the metrics file and verifies what was written.
"""

from __future__ import annotations

# training_hub and instructlab-training have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ft_assets.training.following import following
from ft_assets.training.gpu_states import Epochs, mend_instructlab_states
from ft_assets.training.model_choice import choose, forget_choice, forget_models, record_choice
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from ft_assets.training.token_rows import TokenCounts, write_token_rows
from ft_assets.training.torchrun import call, outcome, prepare, profiled
from resources.errors import UserError
from resources.launcher.child import Reporter

_TOKENS = "tokens"
_THEIR_METRICS = "training_params_and_metrics_global{node}.jsonl"
_THEIR_LOG = "full_logs_global{node}.log"
_NO_FLASH = "disable_flash_attn"


def train_with_instructlab(
    plan: TrainPlan,
    base: Path,
    run_dir: Path,
    report: Reporter,
    prepared: Callable[[], None] = lambda: None,
) -> TrainOutcome:
    """Train through ``training_hub.sft`` and return the verified outcome.

    ``prepared`` is called when everything is there that other nodes read.

    Raises:
        UserError: no model was written, or one that is not whole; or the run was unhealthy, or
            failed for a reason that its input can mend.
        KeyboardInterrupt: it was told to end; where it saves its state, it has.
    """
    prepare(plan, run_dir)
    from training_hub import sft

    forget_choice(run_dir)
    counts = _write_tokens(plan, base, run_dir / _TOKENS, report)
    arguments = training_arguments(plan, base, run_dir)
    states = run_dir / "full_state"
    batch, epochs = (int(plan.parameters[n]) for n in ("effective_batch_size", "num_epochs"))
    mend_instructlab_states(states, Epochs(counts.rows, batch, epochs))
    if not any(states.glob("epoch_*")):
        forget_models(run_dir)
    node = plan.parameters.get("node_rank", 0)
    lines = _Lines(epochs, counts, padded=bool(arguments.get(_NO_FLASH)))
    theirs = run_dir / _THEIR_METRICS.format(node=node)
    prepared()
    with following(theirs, run_dir, lines, plan, report) as followed:
        call(partial(sft, **arguments), plan, run_dir / _THEIR_LOG.format(node=node))
    if followed.total_steps is not None and followed.steps < followed.total_steps:
        raise KeyboardInterrupt  # it saved its state on a signal, and its function returned
    # Without torchrun, for one, sft() logs an error and returns: look at what there is.
    folder = choose(run_dir, plan.checkpoint_choice)
    record_choice(run_dir, folder, plan.checkpoint_choice)
    attention = "sdpa" if arguments.get(_NO_FLASH) else "flash_attention_2"
    return outcome(plan, base, run_dir, followed, counts, model=folder, attention=attention)


def train_beside(plan: TrainPlan, base: Path, run_dir: Path) -> None:
    """Train as a node beside the first, which prepares, follows and verifies.

    Raises:
        UserError: the run failed for a reason that its input can mend.
    """
    node = plan.parameters["node_rank"]
    prepare(plan, run_dir)
    from training_hub import sft

    arguments = training_arguments(plan, base, run_dir)
    call(partial(sft, **arguments), plan, run_dir / _THEIR_LOG.format(node=node))


def training_arguments(plan: TrainPlan, base: Path, run_dir: Path) -> dict[str, Any]:
    """Everything that ``training_hub.sft`` is called with.

    Raises:
        UserError: FlashAttention is asked for and not installed.
    """
    from instructlab.training.config import FSDPOptions, ShardingStrategies

    arguments = profiled(plan.parameters, plan, run_dir)
    strategy = arguments.pop("fsdp_sharding_strategy", None)
    if strategy is not None:
        arguments["fsdp_options"] = FSDPOptions(sharding_strategy=ShardingStrategies(strategy))
    if find_spec("flash_attn") is None and not arguments.get(_NO_FLASH):
        if _NO_FLASH in arguments:
            raise UserError(
                "training.attention: flash_attention_2: flash-attn is not installed here: install "
                "it in the training image, or set auto"
            )
        arguments[_NO_FLASH] = True  # SDPA instead
    if arguments.pop("tensorboard", False):
        arguments["tensorboard_log_dir"] = str(run_dir / "tensorboard")
    return {
        "model_path": str(base),
        "data_path": plan.train_file,
        "data_output_dir": str(run_dir / _TOKENS),
        "ckpt_output_dir": str(run_dir),
        "backend": "instructlab-training",
        **arguments,
    }


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


class _Lines:
    """What the lines of its metrics file say of a step."""

    def __init__(self, epochs: int, counts: TokenCounts, *, padded: bool) -> None:
        self._epochs = epochs
        self._tokens_per_row = counts.tokens / counts.rows
        self._padded = padded

    def __call__(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """A training line; the first ones hold parameters."""
        if "avg_loss" not in line:
            return None
        per_epoch = line["num_epoch_steps"]
        # A run that goes on at the begin of an epoch counts its steps from 1 again.
        step = line["epoch"] * per_epoch + (line["step"] - 1) % per_epoch + 1
        rows, rows_per_second = line["batch_size"], line["overall_throughput"]
        # Their count is summed over all processes, whatever its name says; where rows are padded
        # it counts the padding too, and the mean length of a row is nearer to the truth.
        tokens = round(rows * self._tokens_per_row) if self._padded else line["num_tokens_rank0"]
        return {
            "step": step,
            "total_steps": per_epoch * self._epochs,
            "epoch": round(step / per_epoch, 4),
            "loss": line["avg_loss"],
            "learning_rate": line["lr"],
            "grad_norm": line.get("gradnorm"),
            "tokens": tokens,
            "trained_tokens": line["num_loss_counted_tokens"],
            "memory_mib": line["cuda_mem_allocated"] * 1024,
            "seconds": rows / rows_per_second if rows_per_second else 0.0,
        }
