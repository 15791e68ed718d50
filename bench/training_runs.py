"""What the benchmarks of training share: the demo's model and rows, a run of ours, and losses.

A module, not a benchmark.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

SEED = 42
BATCH = 8
MAX_TOKENS = 1024
LEARNING_RATE = 2e-4


def base_model() -> Path:
    """The folder of the demo's base model."""
    from ft_assets.config import find_pipelines
    from ft_assets.training.base_folder import prepare
    from ft_assets.training.base_model import locate
    from resources.home import ft_home

    (demo,) = [p for p in find_pipelines() if p.spec.name == "demo"]
    models = ft_home() / "models"
    name = demo.spec.training.base_model
    ref = locate(
        name, folder=demo.folder, models=models, chat_template=None, hf_token_env="HF_TOKEN"
    )
    return prepare(ref, models)


def split_rows(file: Path, scratch: Path, seed: int = SEED) -> tuple[Path, Path]:
    """The training side and the held-out side of a file of rows, as the demo divides them."""
    from ft_assets.data.ingest import ingest
    from ft_assets.data.split import split

    ingest([(file.name, file)], scratch / "raw", on_bad_rows="fail", max_bad_rows=0)
    split(
        scratch / "raw" / "rows.jsonl",
        scratch / "split",
        ratio=0.85,
        seed=seed,
        subset=0,
        near_duplicates=0.8,
    )
    return scratch / "split" / "train.jsonl", scratch / "split" / "held_out.jsonl"


def first_rows(file: Path, count: int, to: Path) -> Path:
    """A file of the first rows, which then decide the number of steps."""
    lines = file.read_text().splitlines(keepends=True)
    if len(lines) < count:
        sys.exit(f"{file} has {len(lines)} rows and {count} are needed: lower --steps")
    to.write_text("".join(lines[:count]))
    return to


def train(model: Path, rows: Path, run_dir: Path, **training: Any) -> Path:
    """Train one epoch with the platform's own worker, in this process; the saved model's folder."""
    from ft_assets.config import KubernetesConfig, TrainingConfig
    from ft_assets.training.base_model import locate
    from ft_assets.training.outcome import TrainOutcome
    from ft_assets.training.plan import make_plan
    from ft_assets.training.worker import train as work

    values: dict[str, Any] = {
        "backend": "cpu",
        "num_epochs": 1,
        "effective_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler": "linear",
        "max_seq_len": 512,
        "max_tokens_per_gpu": MAX_TOKENS,
        "checkpoint_at_epoch": False,
        "seed": SEED,
        **training,
    }
    plan = make_plan(
        TrainingConfig.model_validate(values),
        KubernetesConfig(),
        base_model=locate(
            str(model), folder=ROOT, models=ROOT, chat_template=None, hf_token_env="HF_TOKEN"
        ),
        models_dir=run_dir,
        train_file=rows,
        data_digest="0" * 64,
        train_rows=len(rows.read_text().splitlines()),
    )
    run_dir.mkdir(parents=True)
    file = run_dir / "plan.json"
    file.write_text(plan.model_dump_json())
    work(file, lambda *_, **__: None)
    outcome = TrainOutcome.load(run_dir)
    assert outcome is not None
    return run_dir / outcome.model_dir


def held_out_losses(model: Any, model_folder: Path, rows: Path, scratch: Path) -> list[float]:
    """Nats per token of the answer, of each row of a file."""
    import torch
    from transformers import AutoTokenizer

    from ft_assets.training.in_process.tokens import TokenFile, tokenize
    from ft_assets.training.in_process.trainer import loss_sum
    from ft_assets.training.mask import ASSISTANT_TURNS

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    folder = scratch / "held-out-tokens"
    tokenize(rows, folder, tokenizer, 512, ASSISTANT_TURNS, report=lambda *_, **__: None)
    tokens = TokenFile(folder)
    model.eval()
    with torch.inference_mode():
        return [
            float(loss_sum(model, [row])) / int(row.trained.sum())
            for row in (tokens[index] for index in range(len(tokens)))
        ]


def conversations(rows: Path) -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
