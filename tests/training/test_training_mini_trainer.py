"""OSFT through mini-trainer: our tokens are read, its lines understood, its model found.

The last test is a whole run: training_hub, mini-trainer's launcher and its training script, on the
CPU in place of a GPU.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training import plan as plan_module
from ft_assets.training.chat import render_chat
from ft_assets.training.following import Follower
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.metrics import read_metrics
from ft_assets.training.mini_trainer import (
    _ended,
    _Lines,
    _write_tokens,
    drop_buffers,
    train_with_mini_trainer,
)
from ft_assets.training.model_choice import ModelChoice
from ft_assets.training.plan import TrainPlan, make_plan
from resources.errors import UserError
from tests.support.torchrun_on_cpu import install
from tests.training.conftest import chat, reference, write_chats, write_rows


def silent(phase: str, done: float, total: float, **details: Any) -> None:
    """A reporter that nobody listens to."""


@pytest.fixture
def planned(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)

    def make(**values: Any) -> TrainPlan:
        config = {
            "algorithm": "osft",
            "backend": "mini-trainer",
            "num_epochs": 2,
            "effective_batch_size": 8,
            "learning_rate": 1e-3,
            "max_seq_len": 128,
            "max_tokens_per_gpu": 512,
            **values,
        }
        return make_plan(
            TrainingConfig.model_validate(config),
            KubernetesConfig(),
            base_model=reference(tiny_model),
            models_dir=tmp_path / "models",
            train_file=write_rows(tmp_path / "train.jsonl", 20),
            held_out_file=write_rows(tmp_path / "held-out.jsonl", 10),
            data_digest="0" * 64,
            train_rows=20,
        )

    return make


@pytest.mark.slow
def test_its_batches_hold_our_tokens_and_masks(tiny_model, tmp_path):
    """With its own data loader, as its training script does."""
    from mini_trainer.sampler import get_data_loader
    from transformers import AutoTokenizer

    from ft_assets.training.token_rows import write_token_rows

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    chats = [
        chat(("system", "s"), ("user", "Why?"), ("assistant", "Because.")),
        chat(("user", "a"), ("assistant", "b")),
    ]
    policy = MaskPolicy(roles_to_train=("user",), train_on_eos="none")
    file = tmp_path / "tokens" / "data.jsonl"
    rows = write_chats(tmp_path / "train.jsonl", chats)
    write_token_rows(rows, file, tokenizer, 1000, policy, report=silent)
    loader, held_out = get_data_loader(
        str(file), 2, 1000, seed=1, rank=0, world_size=1, validation_data_path=str(file)
    )
    assert held_out is not None
    for batches in (loader, held_out):
        [[packed]] = list(batches)
        starts = (packed["position_ids"][0] == 0).nonzero().flatten().tolist()
        ids, labels = packed["input_ids"][0].tolist(), packed["labels"][0].tolist()
        rendered = [render_chat(tokenizer, messages, policy=policy) for messages in chats]
        found = [
            (ids[start:end], [label != -100 for label in labels[start:end]])
            for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)
        ]
        wanted = [(row.input_ids, row.trained) for row in rendered]
        assert sorted(found) == sorted(wanted)
        trained = sum(sum(row.trained) for row in rendered)
        assert packed["batch_num_loss_counted_tokens"] == trained


def test_only_the_first_held_out_rows_are_measured(planned, tiny_model, tmp_path):
    plan = planned(validation_steps=2, validation_rows=3)
    counts = _write_tokens(plan, tiny_model, tmp_path / "tokens", silent)
    assert counts.rows == 20
    assert len((tmp_path / "tokens" / "held-out.jsonl").read_text().splitlines()) == 3


def test_held_out_rows_that_cannot_be_measured_are_refused_by_their_name(
    planned, tiny_model, tmp_path
):
    plan = planned(validation_steps=2)
    long = [chat(("user", "word " * 400), ("assistant", "b"))]
    write_chats(tmp_path / "held-out.jsonl", long)
    with pytest.raises(UserError, match=r"training.validation_steps: no held-out row"):
        _write_tokens(plan, tiny_model, tmp_path / "tokens", silent)


def test_without_a_held_out_loss_no_held_out_rows_are_written(planned, tiny_model, tmp_path):
    _write_tokens(planned(), tiny_model, tmp_path / "tokens", silent)
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == ["data.jsonl"]


@pytest.mark.slow
def test_the_lines_of_its_own_logger_become_our_steps(planned, tmp_path):
    from mini_trainer.async_structured_logger import AsyncStructuredLogger

    theirs = tmp_path / "training_metrics_0.jsonl"
    logger = AsyncStructuredLogger(str(theirs))
    step = {
        "epoch": 0,
        "steps_per_epoch": 3,
        "lr": 1e-5,
        "grad_norm": 0.5,
        "loss": 2.5,
        "avg_loss_backward": 2.5,
        "num_samples": 8.0,
        "num_loss_counted_tokens": 40.0,
        "batch_num_loss_counted_tokens": 40,
        "num_total_tokens": 400.0,
        "grad_accum": 1,
        "avg_time_per_minibatch": 0.1,
        "time_per_batch": 0.5,
        "tokens_per_second": 800.0,
        "total_samples_accumulated": 8.0,
        "total_tokens_accumulated": 40,
        "samples_per_second": 16.0,
        "peak_memory_usage_GB": 1.048576,
        "val_loss": None,
    }
    measured = {"val_loss": 1.5, "val_num_samples": 3, "val_num_batches": 1}
    for line in (
        {"step": 1},
        {"step": 2, **measured},
        {"step": 3, "val_loss": 1.5},  # repeated until it is measured again
        {"step": 4, "loss": float("nan"), "epoch": 1},
    ):
        asyncio.run_coroutine_threadsafe(logger.log({**step, **line}), logger.loop).result(30)
    plan = planned(on_unhealthy="warn")
    follower = Follower(theirs, tmp_path, _Lines(epochs=2), plan, silent)
    follower.read(ended=True)
    ours = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert [m.step for m in ours] == [1, 2, 3, 4]
    assert [m.held_out_loss for m in ours] == [None, 1.5, None, None]
    assert str(ours[3].loss) == "nan"
    first = ours[0]
    assert (first.total_steps, first.epoch, first.loss) == (6, 0.3333, 2.5)
    assert (first.learning_rate, first.grad_norm) == (1e-5, 0.5)
    assert (first.tokens, first.trained_tokens, first.tokens_per_second) == (400, 40, 800.0)
    assert (first.memory_mib, first.eta_seconds) == (1000.0, 2.5)
    assert [m.tokens for m in ours] == [400, 800, 1200, 1600]


@pytest.mark.parametrize(
    ("names", "ended"),
    [
        ([], False),
        (["samples_20.0"], False),
        (["samples_20.0", "samples_40.0"], True),
        (["samples_28.0_best_val_loss", "samples_40.0_best_val_loss"], True),
        (["samples_40.0_other"], False),
    ],
)
def test_a_run_has_ended_when_there_is_a_model_of_its_last_step(tmp_path, names, ended):
    for name in names:
        (tmp_path / name).mkdir()
    assert _ended(tmp_path, 40) is ended


def test_what_is_no_weight_is_taken_out_of_the_model_and_its_index(tmp_path):
    first = {"a.weight": torch.ones(2), "model.rotary_emb.original_inv_freq": torch.ones(2)}
    save_file(first, tmp_path / "model-1.safetensors")
    save_file({"b.weight": torch.ones(2)}, tmp_path / "model-2.safetensors")
    untouched = (tmp_path / "model-2.safetensors").stat().st_mtime_ns
    shards = {**dict.fromkeys(first, "model-1.safetensors"), "b.weight": "model-2.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    drop_buffers(tmp_path)
    assert load_file(tmp_path / "model-1.safetensors").keys() == {"a.weight"}
    assert json.loads(index.read_text())["weight_map"].keys() == {"a.weight", "b.weight"}
    assert (tmp_path / "model-2.safetensors").stat().st_mtime_ns == untouched
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_a_pattern_that_fits_no_matrix_is_refused_before_anything_is_written(
    planned, tiny_model, tmp_path, on_cpu
):
    plan = planned(target_patterns=["q_proj", "c_attn"])
    with pytest.raises(UserError, match=r"training.target_patterns: 'c_attn' is in no name"):
        train_with_mini_trainer(plan, tiny_model, tmp_path, silent)
    assert not (tmp_path / "tokens").exists()


@pytest.fixture
def on_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun on the CPU, and an environment that is as before when the test is over."""
    for name in ("HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "CHECKPOINT_TRIGGER_FILENAME", "TESTING"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    # It reads the name of the run's trigger when it is imported: in a process of its own, once.
    monkeypatch.delitem(sys.modules, "mini_trainer.full_state_checkpoint", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", f"{install(tmp_path / 'fake')}:{os.environ['PATH']}")


@pytest.mark.slow
def test_a_whole_run_leaves_the_best_model_and_what_it_measured(
    planned, tiny_model, tmp_path, on_cpu
):
    """And one that is told to end in its second epoch does the same steps, each once."""
    plan = planned(num_epochs=4, validation_steps=3, validation_rows=6, checkpoint_choice="best")
    reported: list[float] = []

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        if phase == "train":
            reported.append(done)

    base = Path(shutil.copytree(tiny_model, tmp_path / "opt"))  # a name that decides nothing
    outcome = train_with_mini_trainer(plan, base, tmp_path, report)
    steps = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert reported == [step.step for step in steps] == list(range(1, 13))
    assert [step.held_out_loss is not None for step in steps] == [False, False, True] * 4
    assert steps[-1].loss < steps[0].loss
    assert (outcome.steps, outcome.rows, outcome.epochs) == (12, 20, 4.0)
    assert outcome.tokens == steps[-1].tokens
    assert outcome.trained_tokens == steps[-1].trained_tokens
    choice = ModelChoice.load(tmp_path)
    assert choice is not None
    assert choice.held_out_loss == min(s.held_out_loss for s in steps if s.held_out_loss)
    assert choice.model_dir == outcome.model_dir
    assert outcome.model_dir.endswith("_best_val_loss")
    assert outcome.settings["attention"] == "sdpa"
    arrived = json.loads((tmp_path / "training_params.json").read_text())
    assert "self_attn.o_proj" in arrived["osft_target_patterns"]

    run_dir = tmp_path / "told-to-end"
    run_dir.mkdir()
    other = subprocess.Popen(["sleep", "600"])  # of whoever trains in a process of its own
    with told_to_end_after(4, run_dir), pytest.raises(KeyboardInterrupt):
        train_with_mini_trainer(plan, base, run_dir, silent)
    assert other.poll() is None
    other.kill()
    other.wait()
    before = [step.step for step in read_metrics(run_dir / "metrics.jsonl")]
    assert 4 <= len(before) < 12
    again = train_with_mini_trainer(plan, base, run_dir, silent)
    assert (again.steps, again.resumed_from_step) == (12, before[-1])
    assert again.tokens == outcome.tokens
    for ours, theirs in zip(read_metrics(run_dir / "metrics.jsonl"), steps, strict=True):
        assert (ours.step, ours.tokens, ours.learning_rate) == (
            theirs.step,
            theirs.tokens,
            theirs.learning_rate,
        )
        assert (ours.held_out_loss is None) == (theirs.held_out_loss is None)
        # The singular vectors of what may change are found anew: another basis, other rounding.
        assert ours.loss == pytest.approx(theirs.loss, rel=0.01)


@contextmanager
def told_to_end_after(lines: int, run_dir: Path) -> Iterator[None]:
    """SIGTERM to this process as soon as the backend has written so many lines of metrics."""
    theirs, over = run_dir / "training_metrics_0.jsonl", threading.Event()
    theirs.unlink(missing_ok=True)

    def watch() -> None:
        while not over.wait(0.005):
            if theirs.exists() and theirs.read_bytes().count(b"\n") >= lines:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
