"""instructlab-training reads our tokens, and what it writes is understood."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ft_assets.training import instructlab
from ft_assets.training import plan as plan_module
from ft_assets.training.chat import render_chat
from ft_assets.training.following import Follower
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.metrics import StepMetrics, read_metrics
from ft_assets.training.model_choice import ModelChoice
from ft_assets.training.plan import TrainPlan
from ft_assets.training.token_rows import TokenCounts, write_token_rows
from resources.errors import UserError
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


def test_a_state_that_was_being_written_is_removed_and_a_whole_one_kept(tmp_path):
    for name, files in {"epoch_0": ["training_metadata.json"], "epoch_1": ["model.bin"]}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    instructlab._drop_unfinished_states(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0"]


# What stands for torchrun here does not train: it writes what the backend's script would, after the
# steps that it is told, and leaves the base model as the trained one.
_TORCHRUN = """#!{python}
import json, os, shutil, sys
given = dict(part[2:].split("=", 1) for part in sys.argv[1:] if "=" in part)
run, base = given["output_dir"], given["model_name_or_path"]
rows = [json.loads(line) for line in open(given["data_path"])]
assert "--disable_flash_attn" in sys.argv and given["seed"] == "42"
print("{log}")
line = {line}
with open(run + "/training_params_and_metrics_global0.jsonl", "a") as metrics:
    for step in range(1, {steps} + 1):
        metrics.write(json.dumps({{**line, "step": step, "avg_loss": 3.0 - step / 10}}) + "\\n")
if {writes}:
    shutil.copytree(base, run + "/hf_format/samples_%d" % (len(rows) * int(given["num_epochs"])))
sys.exit({status})
"""


@pytest.fixture
def trained(tiny_model, tmp_path, plan_file, monkeypatch):
    """The whole way through training_hub and the backend's launcher, to another torchrun."""
    for name in ("HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "CHECKPOINT_TRIGGER_FILENAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def train(
        *, steps: int = 6, writes: bool = True, log: str = "", status: int = 0, **values: Any
    ):
        monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)
        gpu = {"backend": "instructlab-training", "precision": "auto", "threads": 0}
        file = plan_file(rows=20, **gpu, **values)
        folder = tmp_path / "bin"
        folder.mkdir()
        fields = {"steps": steps, "writes": writes, "log": log, "status": status}
        text = _TORCHRUN.format(python=sys.executable, line=Line.values, **fields)
        (folder / "torchrun").write_text(text)
        (folder / "torchrun").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        plan = TrainPlan.model_validate_json(file.read_text())
        return instructlab.train_with_instructlab(
            plan, tiny_model, file.parent, lambda *a, **k: None
        )

    return train


@pytest.mark.slow
def test_a_run_that_ended_well_has_an_outcome_and_a_chosen_model(trained, tmp_path):
    outcome = trained()
    assert outcome.model_dir == "hf_format/samples_40"
    assert (outcome.steps, outcome.first_loss, outcome.last_loss) == (6, 2.9, 2.4)
    assert outcome.settings["attention"] == "sdpa"
    assert outcome.settings["instructlab-training"]
    choice = ModelChoice.load(tmp_path / "run")
    assert choice is not None
    assert choice.model_dir == outcome.model_dir


@pytest.mark.slow
def test_a_run_that_saved_its_state_on_a_signal_is_no_finished_one(trained):
    with pytest.raises(KeyboardInterrupt):
        trained(steps=4, save_full_state=True)  # it also writes a model then


@pytest.mark.slow
def test_a_run_that_wrote_no_model_is_refused(trained):
    with pytest.raises(UserError, match="wrote no model"):
        trained(writes=False)


@pytest.mark.slow
def test_a_run_that_failed_says_what_to_change(trained):
    with pytest.raises(UserError, match=r"out of memory: set training.max_tokens_per_gpu to 256"):
        trained(steps=1, writes=False, log="CUDA out of memory.", status=1)
