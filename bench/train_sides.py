"""One side of bench/train_cpu.py, in a process of its own; prints one JSON object.

A module, not a benchmark: ``python bench/train_sides.py SIDE MODEL ROWS HELD_OUT STEPS THREADS``.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from training_runs import BATCH, SEED, conversations, held_out_losses, train

LEARNING_RATE = 2e-4

TRL: dict[str, dict[str, Any]] = {
    # What TRL does when nothing is said: bf16, activation checkpointing, the loss on all tokens.
    "trl_defaults": {},
    "trl_fp32": {"bf16": False},
    # The candidates for its best.
    "trl_padded": {"gradient_checkpointing": False, "completion_only_loss": True},
    "trl_padding_free": {
        "gradient_checkpointing": False,
        "completion_only_loss": True,
        "padding_free": True,
        "max_length": None,
    },
    "trl_packed": {
        "gradient_checkpointing": False,
        "completion_only_loss": True,
        "packing": True,
        "max_length": 512,
        "per_device_train_batch_size": 1,  # 512 tokens, as many as 8 rows have
    },
}
OURS: dict[str, dict[str, Any]] = {
    "ours_sft": {},
    "ours_osft": {"algorithm": "osft"},
    "ours_lora": {"algorithm": "lora_sft"},
    # With what TRL does when nothing is said.
    "ours_recomputed": {"gradient_checkpointing": True},
    # In a precision that is named: the others have what ``auto`` means on this machine.
    "ours_fp32": {"precision": "fp32"},
    "ours_bf16": {"precision": "bf16"},
}


class Given(NamedTuple):
    """What every side gets."""

    model: Path
    rows: Path
    held_out: Path
    steps: int
    threads: int


class Clock:
    """Tokens of each step, and the seconds from the end of one step to the end of the next."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.trained: list[int] = []
        self.ends: list[float] = []
        self.profiler: Any = None

    def watch(self, trainer_class: type) -> None:
        """Count and time every step of every trainer of this class."""
        from transformers import TrainerCallback
        from transformers.trainer import DEFAULT_CALLBACKS

        clock = self

        class Ends(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.ends.append(time.monotonic())
                if clock.profiler is not None and len(clock.ends) == 1:
                    clock.profiler.start()

            def on_train_end(self, *_: Any, **__: Any) -> None:
                if clock.profiler is not None:
                    clock.profiler.stop()

        DEFAULT_CALLBACKS.append(Ends)
        step = trainer_class.training_step

        def counted(trainer: Any, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            tokens, trained = count(inputs)
            clock.tokens.append(tokens)
            clock.trained.append(trained)
            return step(trainer, model, inputs, *rest)

        trainer_class.training_step = counted

    def result(self) -> dict[str, Any]:
        seconds = self.ends[-1] - self.ends[0]
        return {
            "tokens_per_second": sum(self.tokens[1:]) / seconds,
            "tokens": sum(self.tokens),
            "tokens_per_step": statistics.mean(self.tokens),
            "trained_per_step": statistics.mean(self.trained),
            "seconds": seconds,
        }


def count(inputs: dict[str, Any]) -> tuple[int, int]:
    """Tokens that are no padding, and those that are trained on."""
    if "rows" in inputs:
        rows = inputs["rows"]
        return sum(len(row.ids) for row in rows), sum(int(row.trained.sum()) for row in rows)
    mask = inputs.get("attention_mask")
    tokens = inputs["input_ids"].numel() if mask is None else int(mask.sum())
    return tokens, int((inputs["labels"] != -100).sum())


def ours(side: str, given: Given) -> Any:
    """The platform's worker, as a pipeline runs it, from the plan to the saved model.

    The number of rows decides the number of steps.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from ft_assets.training.in_process.trainer import RowTrainer

    clock = Clock()
    clock.watch(RowTrainer)
    profiled = side == "profile"
    if profiled:
        clock.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    with tempfile.TemporaryDirectory() as scratch:
        folder = train(
            given.model,
            given.rows,
            Path(scratch) / "run",
            **{"algorithm": "sft", **OURS.get(side, {})},
            learning_rate=LEARNING_RATE,
            threads=given.threads,
        )
        result = clock.result()
        result["peak_mib"] = peak_mib()
        if profiled:
            from where_time_goes import shares

            return shares(clock.profiler, result["seconds"])
        if side == "ours_sft":
            trained = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
            result["losses"] = held_out_losses(trained, given.model, given.held_out, Path(scratch))
    return result


def trl(side: str, given: Given) -> Any:
    """TRL's SFTTrainer on the same rows."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from ft_assets.training.in_process.machine import precision

    torch.set_num_threads(given.threads)
    chats = conversations(given.rows)
    settings = dict(TRL[side])
    clock = Clock()
    clock.watch(SFTTrainer)
    with tempfile.TemporaryDirectory() as scratch:
        needed = {"output_dir": scratch, "use_cpu": True, "report_to": "none"}
        if settings.get("completion_only_loss"):  # at its best: our optimizer and batch, too
            data = [{"prompt": turns[:-1], "completion": turns[-1:]} for turns in chats]
            settings = {
                "per_device_train_batch_size": BATCH,
                "max_length": 512,
                "learning_rate": LEARNING_RATE,
                "lr_scheduler_type": "linear",
                "adam_beta2": 0.95,
                "optim": "adamw_torch_fused",
                "seed": SEED,
                "bf16": precision("auto") == "bf16",
                **settings,
            }
            loaded = {"dtype": "float32"}
        else:
            data, loaded = [{"messages": turns} for turns in chats], {}
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(given.model, **loaded),
            args=SFTConfig(
                **needed,
                max_steps=given.steps,
                save_strategy="no",
                disable_tqdm=True,
                **settings,
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=AutoTokenizer.from_pretrained(given.model),
        )
        trainer.train()
        result = clock.result()
        result["peak_mib"] = peak_mib()
        if side == "trl_padded":
            result["losses"] = held_out_losses(
                trainer.model, given.model, given.held_out, Path(scratch)
            )
    return result


def floor(model: Path, tokens: int, trained: int, threads: int) -> dict[str, float]:
    """Only the products of a step: forward, input gradient and weight gradient of linear layers.

    In the precision that ours takes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from ft_assets.training.in_process.machine import precision

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision("auto") == "bf16" else torch.float32
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    output = loaded.get_output_embeddings()
    layers = [
        (layer.weight.detach(), trained if layer is output else tokens)
        for layer in loaded.modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    seconds: list[float] = []
    for _ in range(5):
        began = time.monotonic()
        for weight, rows in layers:
            x = torch.ones(rows, weight.shape[1], dtype=dtype)
            gradient = torch.ones(rows, weight.shape[0], dtype=dtype)
            _ = x @ weight.T, gradient @ weight, gradient.T @ x
        seconds.append(time.monotonic() - began)
    return {"tokens_per_second": tokens / statistics.median(seconds[1:])}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    side, model, rows, held_out, steps, threads = sys.argv[1:]
    if side == "floor":
        tokens, trained = (int(number) for number in steps.split(","))
        result: Any = floor(Path(model), tokens, trained, int(threads))
    else:
        given = Given(Path(model), Path(rows), Path(held_out), int(steps), int(threads))
        result = (trl if side in TRL else ours)(side, given)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
