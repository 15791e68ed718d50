"""Whole runs on one NVIDIA GPU, each algorithm on its own backend; no hub is asked.

A small model of Qwen2's kind with random weights, SDPA where flash-attn is not installed.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.gpu.model import make_model, write_rows
from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training.base_model import locate
from ft_assets.training.metrics import StepMetrics, read_metrics
from ft_assets.training.model_choice import ModelChoice
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import make_plan
from ft_assets.training.worker import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU"),
    pytest.mark.timeout(900),
]
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)

BACKENDS = {"sft": "instructlab-training", "osft": "mini-trainer", "lora_sft": "peft"}
RATE = {"sft": 1e-4, "osft": 1e-3, "lora_sft": 1e-3}
ROWS = 64


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "small"
    make_model(folder, "small")
    return folder


@pytest.fixture
def run(base: Path, tmp_path: Path):
    """A run of the worker; returns its folder and its outcome."""

    def start(algorithm: str, **values: Any) -> tuple[Path, TrainOutcome]:
        config = {
            "algorithm": algorithm,
            "backend": BACKENDS[algorithm],
            "num_epochs": 2,
            "effective_batch_size": 16,
            "max_seq_len": 512,
            "max_tokens_per_gpu": 4096,
            "learning_rate": RATE[algorithm],
            **values,
        }
        plan = make_plan(
            TrainingConfig.model_validate(config),
            KubernetesConfig(gpus_per_worker=1),
            base_model=locate(
                str(base), folder=tmp_path, models=tmp_path, chat_template=None, hf_token_env="X"
            ),
            models_dir=tmp_path / "models",
            train_file=write_rows(tmp_path / "train.jsonl", ROWS, words=30),
            held_out_file=write_rows(tmp_path / "held-out.jsonl", 16, words=30, seed=1),
            data_digest="0" * 64,
            train_rows=ROWS,
        )
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "plan.json").write_text(plan.model_dump_json())
        train(folder / "plan.json", lambda *_, **__: None)
        outcome = TrainOutcome.load(folder)
        assert outcome is not None
        return folder, outcome

    return start


def steps_of(folder: Path) -> list[StepMetrics]:
    return list(read_metrics(folder / "metrics.jsonl"))


def weights_move(base: Path, folder: Path, outcome: TrainOutcome) -> bool:
    """The model loads, generates, and is another one than the base."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trained = AutoModelForCausalLM.from_pretrained(folder / outcome.model_dir).to("cuda")
    before = AutoModelForCausalLM.from_pretrained(base).to("cuda")
    tokenizer = AutoTokenizer.from_pretrained(folder / outcome.model_dir)
    ids = tokenizer("Which planet", return_tensors="pt").input_ids.to("cuda")
    with torch.no_grad():
        logits, old = trained(ids).logits, before(ids).logits
    assert bool(logits.isfinite().all())
    return not torch.equal(logits, old)


@pytest.mark.parametrize("algorithm", BACKENDS)
def test_a_run_ends_with_a_model_that_has_learned(run, base, algorithm):
    folder, outcome = run(algorithm)
    steps = steps_of(folder)
    assert [step.step for step in steps] == list(range(1, 9))
    assert all(math.isfinite(step.loss) for step in steps)
    assert steps[-1].loss < steps[0].loss
    assert (outcome.steps, outcome.rows) == (8, ROWS)
    assert outcome.tokens_per_second is not None
    assert outcome.peak_memory_mib > 0
    assert ModelChoice.load(folder) is not None
    assert weights_move(base, folder, outcome)


def test_osft_measures_held_out_rows_and_keeps_the_best(run, base):
    folder, outcome = run("osft", validation_steps=2, checkpoint_choice="best")
    measured = [step.held_out_loss for step in steps_of(folder) if step.held_out_loss is not None]
    assert len(measured) == 4
    choice = ModelChoice.load(folder)
    assert choice is not None
    assert choice.held_out_loss == min(measured)
    assert outcome.model_dir.endswith("_best_val_loss")


@pytest.mark.parametrize("algorithm", ["sft", "osft"])
def test_without_flash_attn_attention_is_sdpa(run, algorithm):
    _, outcome = run(algorithm)
    installed = find_spec("flash_attn") is not None
    assert outcome.settings["attention"] == ("flash_attention_2" if installed else "sdpa")


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
@needs_bitsandbytes
def test_an_adapter_is_trained_over_quantized_weights(run, base, bits):
    folder, outcome = run("lora_sft", **{bits: True})
    steps = steps_of(folder)
    assert steps[-1].loss < steps[0].loss
    assert weights_move(base, folder, outcome)
    assert (folder / outcome.model_dir / "adapter").is_dir()
