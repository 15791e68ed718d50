"""A whole run of the worker on the CPU: what it leaves, what it refuses, how it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.worker import train
from resources.errors import UserError

METRICS = {
    "time",
    "step",
    "total_steps",
    "epoch",
    "loss",
    "held_out_loss",
    "learning_rate",
    "grad_norm",
    "tokens",
    "trained_tokens",
    "tokens_per_second",
    "memory_mib",
    "eta_seconds",
}


def silent(phase: str, done: float, total: float, **details: Any) -> None:
    """A reporter that nobody listens to."""


def run(plan: Path, report: Any = silent) -> TrainOutcome:
    train(plan, report)
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return outcome


def weights(plan: Path) -> bytes:
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return (plan.parent / outcome.model_dir / "model.safetensors").read_bytes()


def metrics_of(plan: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (plan.parent / "metrics.jsonl").read_text().splitlines()]


# What a run leaves.


def test_a_run_ends_with_a_model_that_has_learned(plan_file, tiny_model):
    plan = plan_file(num_epochs=4)
    reports: list[tuple[str, float, float]] = []

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        reports.append((phase, done, total))

    outcome = run(plan, report)
    assert outcome.model_dir == "hf_format/samples_160"
    assert outcome.base_model_dir == str(tiny_model)
    assert (outcome.steps, outcome.epochs) == (20, 4.0)
    assert (outcome.rows, outcome.rows_too_long, outcome.resumed_from_step) == (40, 0, 0)
    assert outcome.tokens is not None
    assert outcome.trained_tokens is not None
    assert 0 < outcome.trained_tokens < outcome.tokens
    assert outcome.first_loss is not None
    assert outcome.last_loss is not None
    assert outcome.last_loss < outcome.first_loss - 1
    assert outcome.settings["threads"] == 1
    assert outcome.settings["precision"] == "fp32"
    assert outcome.settings["packed"] is True
    assert ("train", 20, 20) in reports
    assert reports[0] == ("base model", 0, 1)

    folder = plan.parent / outcome.model_dir
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    for (name, trained), original in zip(model.named_parameters(), base.parameters(), strict=True):
        assert not torch.equal(trained, original), name


def test_every_step_has_a_line_of_metrics(plan_file):
    plan = plan_file(num_epochs=2, warmup_steps=2, lr_scheduler="linear")
    outcome = run(plan)
    metrics = metrics_of(plan)
    assert [line["step"] for line in metrics] == list(range(1, 11))
    assert all(line.keys() == METRICS for line in metrics)
    assert all(line["total_steps"] == 10 for line in metrics)
    assert metrics[-1]["epoch"] == 2.0
    assert (metrics[0]["loss"], metrics[-1]["loss"]) == (outcome.first_loss, outcome.last_loss)
    assert metrics[-1]["tokens"] == outcome.tokens
    assert metrics[-1]["trained_tokens"] == outcome.trained_tokens
    assert all(line["grad_norm"] > 0 for line in metrics)
    rates = [line["learning_rate"] for line in metrics]
    assert max(rates) == pytest.approx(3e-3)
    assert rates[0] < rates[1] < rates[2]
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_model_is_saved_in_the_type_that_it_came_in(plan_file, tiny_model, tmp_path):
    base = tmp_path / "bf16"
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model.save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(base)
    plan = plan_file(base=base, num_epochs=1)
    outcome = run(plan)
    saved = load_file(plan.parent / outcome.model_dir / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}


def test_the_last_batch_of_an_epoch_may_be_smaller(plan_file):
    outcome = run(plan_file(rows=20, num_epochs=2))
    assert outcome.steps == 6  # 8 + 8 + 4 rows, twice
    assert outcome.model_dir == "hf_format/samples_40"


def test_rows_that_are_too_long_are_left_out_and_counted(plan_file, tmp_path):
    plan = plan_file(rows=16, num_epochs=1)
    rows = (tmp_path / "train-16.jsonl").read_text()
    long = json.loads(rows.splitlines()[0])
    long["messages"][1]["content"] *= 20
    (tmp_path / "train-16.jsonl").write_text(rows + json.dumps(long) + "\n")
    outcome = run(plan)
    assert (outcome.rows, outcome.rows_too_long) == (16, 1)


def test_the_environment_of_the_plan_is_the_training_process_own(plan_file, monkeypatch):
    import os

    monkeypatch.setenv("FT_TEST_VARIABLE", "")  # so that it is gone again after the test
    seen: list[str | None] = []

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        seen.append(os.environ.get("FT_TEST_VARIABLE"))

    run(plan_file(num_epochs=1, env={"FT_TEST_VARIABLE": "a,b"}), report)
    assert set(seen) == {"a,b"}


# Seeds.


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(plan_file):
    first, again, other = plan_file("a"), plan_file("b"), plan_file("c", seed=43)
    for plan in (first, again, other):
        run(plan)
    assert weights(first) == weights(again)
    assert weights(first) != weights(other)


# What is refused.


def test_an_argument_that_the_backend_does_not_have_is_refused(plan_file):
    plan = plan_file(extra={"use_magic": True})
    with pytest.raises(TypeError, match="use_magic"):
        train(plan, silent)
    assert TrainOutcome.load(plan.parent) is None


def test_rows_that_are_all_too_long_are_refused(plan_file):
    plan = plan_file(max_seq_len=21)
    with pytest.raises(UserError, match=r"every training row has more than .*max_seq_len"):
        train(plan, silent)
    assert TrainOutcome.load(plan.parent) is None


def test_weights_that_are_not_finite_end_the_run_without_an_outcome(
    plan_file, tiny_model, tmp_path
):
    base = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    broken = load_file(base / "model.safetensors")
    broken["model.norm.weight"][0] = float("inf")
    save_file(broken, base / "model.safetensors", metadata={"format": "pt"})
    plan = plan_file(base=base)
    (plan.parent / "outcome.json").write_text("{}")  # of an earlier attempt
    with pytest.raises(UserError, match=r"loss became (nan|inf) at step 1: lower training\."):
        train(plan, silent)
    assert TrainOutcome.load(plan.parent) is None
    assert not (plan.parent / "hf_format").exists()
    (line,) = metrics_of(plan)
    assert line["loss"] in ("NaN", "Infinity")


def test_a_run_that_diverges_in_its_last_step_is_refused_too(plan_file, monkeypatch):
    """No further loss would show it: the weights that were written do."""
    from ft_assets.training.in_process import backend

    def diverged(method: Any, model: Any, *further: Any, **named: Any) -> Path:
        model.get_output_embeddings().weight.data[0, 0] = float("nan")
        return save(method, model, *further, **named)

    save = backend.save_model
    monkeypatch.setattr(backend, "save_model", diverged)
    plan = plan_file(num_epochs=1)
    with pytest.raises(UserError, match="the trained weights are not finite"):
        train(plan, silent)
    assert TrainOutcome.load(plan.parent) is None
    assert not (plan.parent / "model_choice.json").exists()
