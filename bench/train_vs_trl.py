"""Tokens per second of our CPU backend and of TRL's SFTTrainer, with the same settings.

Same model (the demo's), rows (its training side), batch, precision, optimizer, thread count and
order of seeds; both mask all but the assistant's turns; a process each, in turn. TRL runs at its
best for this setting: prompt/completion rows, padded batches of the same rows, no activation
checkpointing. Tokens are non-padding tokens; the time is that of the optimizer steps, the first one
left out. Prints one JSON object with medians and the ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SIDES = ("ours", "trl")


def measure(side: str, model: Path, rows: Path, steps: int, threads: int) -> float:
    """Tokens per second of one side, in this process."""
    import torch

    torch.set_num_threads(threads)
    return {"ours": _ours, "trl": _trl}[side](model, rows, steps)


BATCH = 8
MAX_TOKENS = 1024
SEED = 42


def _arguments(folder: str) -> dict[str, object]:
    from ft_assets.training.in_process.machine import precision

    return {
        "output_dir": folder,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "linear",
        "optim": "adamw_torch_fused",
        "adam_beta2": 0.95,
        "num_train_epochs": 1,
        "seed": SEED,
        "data_seed": SEED,
        "use_cpu": True,
        "bf16": precision("auto") == "bf16",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _clock(tokens_of_batch: object) -> tuple[object, list[tuple[int, float]]]:
    """A callback that times steps, and the list it fills: (tokens, seconds) per step."""
    import time

    from transformers import TrainerCallback

    taken: list[tuple[int, float]] = []

    class Clock(TrainerCallback):
        began = 0.0

        def on_step_begin(self, args, state, control, **kwargs):  # noqa: ARG002
            self.began = time.monotonic()

        def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
            taken.append((tokens_of_batch(), time.monotonic() - self.began))

    return Clock(), taken


def _rate(taken: list[tuple[int, float]]) -> float:
    steady = taken[1:]
    return sum(tokens for tokens, _ in steady) / sum(seconds for _, seconds in steady)


def _ours(model: Path, rows: Path, steps: int) -> float:
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

    from ft_assets.training.in_process.tokens import TokenFile, tokenize
    from ft_assets.training.in_process.trainer import RowTrainer
    from ft_assets.training.mask import ASSISTANT_TURNS

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenize(
            rows,
            Path(folder) / "tokens",
            tokenizer,
            512,
            ASSISTANT_TURNS,
            report=lambda *_, **__: None,
        )
        trainer = RowTrainer(
            model=AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
            args=TrainingArguments(
                **_arguments(folder), max_steps=steps, remove_unused_columns=False
            ),
            train_dataset=TokenFile(Path(folder) / "tokens"),
            max_tokens=MAX_TOKENS,
            packed=True,
        )
        seen = [0]

        def tokens() -> int:
            new = trainer.tokens_seen - seen[0]
            seen[0] = trainer.tokens_seen
            return new

        clock, taken = _clock(tokens)
        trainer.add_callback(clock)
        trainer.train()
    return _rate(taken)


def _trl(model: Path, rows: Path, steps: int) -> float:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    conversations = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    dataset = Dataset.from_list(
        [{"prompt": turns[:-1], "completion": turns[-1:]} for turns in conversations]
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
            args=SFTConfig(
                **_arguments(folder),
                max_steps=steps,
                max_length=512,
                gradient_checkpointing=False,
                completion_only_loss=True,
            ),
            train_dataset=dataset,
            processing_class=AutoTokenizer.from_pretrained(model),
        )
        count = [0]
        step = trainer.training_step

        def counted(model, inputs, *rest):
            count[0] = int(inputs["attention_mask"].sum())
            return step(model, inputs, *rest)

        trainer.training_step = counted
        clock, taken = _clock(lambda: count[0])
        trainer.add_callback(clock)
        trainer.train()
    return _rate(taken)


def in_turn(model: Path, rows: Path, steps: int, threads: int, rounds: int) -> dict[str, float]:
    """Medians of both sides, each measurement in a process of its own, in turn."""
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            arguments = [side, str(model), str(rows), str(steps), str(threads)]
            finished = subprocess.run(
                [sys.executable, __file__, "--side", *arguments],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            rates[side].append(float(finished.stdout.splitlines()[-1]))
    return {side: statistics.median(values) for side, values in rates.items()}


def prepared(scratch: Path) -> tuple[Path, Path]:
    """The demo's base model and its training rows."""
    from ft_assets.config import find_pipelines
    from ft_assets.data.ingest import ingest
    from ft_assets.data.split import split
    from ft_assets.training.base_folder import prepare
    from ft_assets.training.base_model import locate
    from resources.home import ft_home

    (demo,) = [p for p in find_pipelines() if p.spec.name == "demo"]
    models = ft_home() / "models"
    base = locate(
        demo.spec.training.base_model,
        folder=demo.folder,
        models=models,
        chat_template=None,
        hf_token_env="HF_TOKEN",
    )
    drop = ROOT / "examples" / "python-docs" / "drop-1.jsonl"
    ingest([(drop.name, drop)], scratch / "raw", on_bad_rows="fail", max_bad_rows=0)
    split(
        scratch / "raw" / "rows.jsonl",
        scratch / "split",
        ratio=0.85,
        seed=SEED,
        subset=0,
        near_duplicates=0.8,
    )
    return prepare(base, models), scratch / "split" / "train.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: the cores that are free")
    parser.add_argument("--side", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if given.side:
        side, model, rows, steps, threads = given.side
        print(measure(side, Path(model), Path(rows), int(steps), int(threads)))
        return
    from ft_assets.training.in_process.machine import free_cores, precision

    threads = given.threads or free_cores()
    with tempfile.TemporaryDirectory() as scratch:
        model, rows = prepared(Path(scratch))
        rates = in_turn(model, rows, given.steps, threads, given.rounds)
    result = {
        "ours_tokens_per_second": round(rates["ours"], 1),
        "trl_tokens_per_second": round(rates["trl"], 1),
        "ratio_to_trl": round(rates["ours"] / rates["trl"], 3),
        "threads": threads,
        "precision": precision("auto"),
        "batch": BATCH,
        "steps": given.steps,
        "rounds": given.rounds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
