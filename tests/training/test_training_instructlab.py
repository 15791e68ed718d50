"""instructlab-training reads our tokens, and what it writes is understood."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ft_assets.training import instructlab
from ft_assets.training.chat import render_chat
from ft_assets.training.following import Follower
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.metrics import StepMetrics, read_metrics
from ft_assets.training.plan import TrainPlan
from ft_assets.training.token_rows import TokenCounts, write_token_rows
from tests.training.conftest import chat, write_chats


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


class Line:
    """What its training script gives its metrics logger after a step."""

    values: ClassVar[dict[str, Any]] = {
        "epoch": 0,
        "step": 1,
        "rank": 0,
        "overall_throughput": 16.0,
        "lr": 1e-5,
        "cuda_mem_allocated": 1.5,
        "cuda_malloc_retries": 0,
        "num_loss_counted_tokens": 40,
        "num_tokens_rank0": 512,
        "batch_size": 8,
        "num_minibatches": 1,
        "avg_loss": 2.5,
        "samples_seen": 8,
        "gradnorm": None,
        "total_samples": 20,
        "num_epoch_steps": 3,
    }


@pytest.fixture
def plan(plan_file) -> TrainPlan:
    return TrainPlan.model_validate_json(plan_file().read_text())


def followed(theirs: Path, plan: TrainPlan, *, padded: bool) -> list[StepMetrics]:
    counts = TokenCounts(rows=20, tokens=1000)
    lines = instructlab._Lines(2, counts, padded=padded)
    Follower(theirs, theirs.parent, lines, plan, lambda *a, **k: None).read(ended=True)
    return list(read_metrics(theirs.parent / "metrics.jsonl"))


@pytest.mark.slow
def test_the_lines_of_its_own_logger_become_our_steps(tmp_path, plan):
    from instructlab.training.async_logger import AsyncStructuredLogger

    theirs = tmp_path / "training_params_and_metrics_global0.jsonl"
    logger = AsyncStructuredLogger(str(theirs))
    for line in (
        {"model_name_or_path": "/base", "num_epochs": 2},
        {"num_gpus": 1, "num_batches": 3},
        Line.values,
        {**Line.values, "step": 2, "avg_loss": 2.0, "gradnorm": 0.5},
    ):
        asyncio.run_coroutine_threadsafe(logger.log(dict(line)), logger.loop).result(30)
    first, second = followed(theirs, plan, padded=False)
    assert (first.step, first.total_steps, first.epoch) == (1, 6, 0.3333)
    assert (first.loss, first.learning_rate, first.grad_norm) == (2.5, 1e-5, None)
    assert (first.tokens, first.trained_tokens, first.memory_mib) == (512, 40, 1536.0)
    assert (first.tokens_per_second, first.eta_seconds) == (1024.0, 2.5)
    assert (second.loss, second.grad_norm, second.tokens) == (2.0, 0.5, 1024)


def test_padding_is_not_counted_as_tokens(tmp_path, plan):
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text(json.dumps(Line.values) + "\n")
    [step] = followed(theirs, plan, padded=True)
    assert step.tokens == 8 * 1000 / 20  # rows of the step, of the mean length


def test_a_run_that_goes_on_in_a_later_epoch_counts_its_steps_on(tmp_path, plan):
    theirs = tmp_path / "theirs.jsonl"
    lines = ({**Line.values, "epoch": 1, "step": step} for step in (1, 2, 3))
    theirs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [step.step for step in followed(theirs, plan, padded=True)] == [4, 5, 6]
