"""The names that we send to instructlab-training are its own, and what it leaves is understood."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training import instructlab
from ft_assets.training import plan as plan_module
from ft_assets.training.chat import render_chat
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.plan import make_plan
from ft_assets.training.token_rows import write_token_rows
from tests.training.conftest import chat, reference, write_chats


@pytest.fixture
def arguments(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What training_hub.sft receives, beside the three paths."""
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)
    config = TrainingConfig(
        backend="instructlab-training", seed=7, fsdp_sharding_strategy="SHARD_GRAD_OP"
    )
    plan = make_plan(
        config,
        KubernetesConfig(gpus_per_worker=2),
        base_model=reference(tiny_model),
        models_dir=Path("/models"),
        train_file=Path("/rows.jsonl"),
        data_digest="d",
        train_rows=1000,
    )
    return instructlab._arguments(plan.parameters)


@pytest.mark.slow
def test_every_name_that_is_sent_is_read(arguments):
    """TrainingArgs and training_hub both take unknown names in silence: compare with the code."""
    from instructlab.training.config import TorchrunArgs, TrainingArgs
    from training_hub.algorithms.sft import SFTAlgorithm

    renamed_by_training_hub = {"max_tokens_per_gpu"}
    read = {*TrainingArgs.model_fields, *TorchrunArgs.model_fields, *renamed_by_training_hub}
    assert set(arguments) <= read
    assert renamed_by_training_hub <= set(inspect.signature(SFTAlgorithm.train).parameters)


@pytest.mark.slow
def test_the_values_arrive_in_the_backends_own_arguments(arguments, monkeypatch, tmp_path):
    """Through training_hub.sft itself, up to the point where it would start torchrun."""
    from training_hub import sft
    from training_hub.algorithms import sft as sft_module

    received: dict[str, Any] = {}
    monkeypatch.setattr(sft_module, "run_training", lambda **given: received.update(given))
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows.write_text(json.dumps({"messages": turns}) + "\n")
    sft(
        model_path="/model",
        data_path=str(rows),
        ckpt_output_dir=str(tmp_path / "run"),
        backend="instructlab-training",
        **arguments,
    )
    train, torchrun = received["train_args"], received["torch_args"]
    assert train.random_seed == 7
    assert train.process_data is False, "the worker wrote the tokens, with its own masks"
    assert train.effective_batch_size == 128
    assert train.max_batch_len == 10_000
    assert train.max_seq_len == 8192
    assert train.learning_rate == 5e-6
    assert train.warmup_steps == 0
    assert train.checkpoint_at_epoch is True
    assert train.accelerate_full_state_at_epoch is False
    assert train.fsdp_options.sharding_strategy.value == "SHARD_GRAD_OP"
    assert (torchrun.nproc_per_node, torchrun.nnodes) == (2, 1)


@pytest.mark.slow
def test_the_backend_reads_the_tokens_and_masks_that_the_worker_wrote(tiny_model, tmp_path):
    """With its own class, as its training loop does."""
    from instructlab.training.sampler import TokenDataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    chats = [
        chat(("system", "s"), ("user", "Why?"), ("assistant", "Because.")),
        chat(("user", "a"), ("assistant", "b")),
    ]
    policy = MaskPolicy(roles_to_train=("user",), train_on_eos="none")
    counts = write_token_rows(
        write_chats(tmp_path / "train.jsonl", chats),
        tmp_path / "tokens" / "data.jsonl",
        tokenizer,
        1000,
        policy,
        report=lambda *a, **k: None,
    )
    dataset = TokenDataset(str(tmp_path / "tokens" / "data.jsonl"))
    assert len(dataset) == counts.rows == 2
    for number, messages in enumerate(chats):
        rendered = render_chat(tokenizer, messages, policy=policy)
        read = dataset[number]
        assert read["input_ids"].tolist() == rendered.input_ids
        assert [label != -100 for label in read["labels"].tolist()] == rendered.trained
        assert read["num_loss_counted_tokens"] == sum(rendered.trained)
    assert sum(dataset[n]["num_loss_counted_tokens"] for n in range(2)) == counts.trained_tokens
    assert tokenizer.decode([i for i in dataset[1]["labels"].tolist() if i != -100]) == "a"


def test_the_model_after_the_most_samples_is_the_one(tmp_path):
    assert instructlab._last_model(tmp_path / "none") is None
    for name in ("samples_90", "samples_1000", "samples_200", "samples_x", "last_epoch"):
        (tmp_path / name).mkdir()
    assert instructlab._last_model(tmp_path) == tmp_path / "samples_1000"


def test_the_backends_metrics_become_ours_line_by_line(tmp_path):
    theirs = tmp_path / "training_params_and_metrics_global0.jsonl"
    line = {
        "epoch": 0,
        "step": 1,
        "lr": 1e-5,
        "avg_loss": 2.5,
        "gradnorm": None,
        "samples_seen": 8,
        "num_epoch_steps": 5,
        "overall_throughput": 3.0,
        "cuda_mem_allocated": 1.5,
    }
    second = json.dumps({**line, "step": 2, "avg_loss": 2.0})
    theirs.write_text('{"script_params": {}}\n' + json.dumps(line) + "\n" + second[:20])
    steps: list[dict[str, Any]] = []
    reports: list[tuple[Any, ...]] = []

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        reports.append((phase, done, details["loss"]))

    seen = instructlab._translate(tmp_path, 0, steps, report)
    assert [step["loss"] for step in steps] == [2.5]  # the half-written line is left for later
    with theirs.open("a") as stream:
        stream.write(second[20:] + "\n")
    instructlab._translate(tmp_path, seen, steps, report)
    assert [(step["step"], step["loss"]) for step in steps] == [(1, 2.5), (2, 2.0)]
    assert reports == [("train", 1, 2.5), ("train", 2, 2.0)]
    ours = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert ours == steps
    assert (ours[0]["learning_rate"], ours[0]["grad_norm"], ours[0]["samples"]) == (1e-5, None, 8)
