"""The weights with the lowest held-out loss become the model, when they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from ft_assets.training.model_choice import ModelChoice
from ft_assets.training.plan import TrainPlan
from tests.support.training_runs import (
    RESUMABLE,
    Said,
    flip_a_bit,
    interrupted,
    metrics_of,
    run,
)

ALGORITHMS = ("sft", "osft", "lora_sft")


def measured(plan: Path, held_out: Path, *, choice: str = "best", every: int = 1) -> Path:
    given = TrainPlan.model_validate_json(plan.read_text())
    changed = given.model_copy(
        update={
            "held_out_file": str(held_out),
            "checkpoint_choice": choice,
            "parameters": {**given.parameters, "validation_steps": every, "validation_rows": 8},
        }
    )
    plan.write_text(changed.model_dump_json())
    return plan


@pytest.fixture
def held_out(tmp_path) -> Path:
    """Rows of which little can be learned from the training rows: the loss falls and rises."""
    from ft_assets.data.canonical import canonical_bytes, row_id
    from ft_assets.data.formats import normalize
    from ft_assets.data.row_files import row_line

    rows = [
        normalize(
            {
                "messages": [
                    {"role": "user", "content": f"Question {n} about a book?"},
                    {"role": "assistant", "content": "A book is renewed at the library, please."},
                ]
            }
        )
        for n in range(8)
    ]
    file = tmp_path / "held-out.jsonl"
    file.write_bytes(b"".join(row_line(row_id(row), canonical_bytes(row)) for row in rows))
    return file


def losses_of(plan: Path) -> dict[int, float]:
    return {line["step"]: line["held_out_loss"] for line in metrics_of(plan)}


def held_out_loss_of(plan: Path) -> float:
    """Of the model as it was saved, by code that the training does not use."""
    from ft_assets.training.in_process.tokens import TokenFile
    from ft_assets.training.in_process.trainer import loss_sum

    choice = ModelChoice.load(plan.parent)
    assert choice is not None
    model = AutoModelForCausalLM.from_pretrained(plan.parent / choice.model_dir).eval()
    rows = [TokenFile(plan.parent / "tokens-held-out")[n] for n in range(8)]
    trained = sum(int(row.trained.sum()) for row in rows)
    return sum(loss_sum(model, [row]).item() for row in rows) / trained


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_best_weights_become_the_model(plan_file, held_out, algorithm):
    learning_rate = 1e-1 if algorithm == "lora_sft" else 2e-2
    values = {"algorithm": algorithm, "learning_rate": learning_rate, "num_epochs": 2}
    plan = measured(plan_file(**values), held_out)
    outcome = run(plan)
    losses = losses_of(plan)
    best = min(losses, key=lambda step: losses[step])
    assert 1 <= best < 10, "the last is not the best, or nothing is shown"
    assert outcome.model_dir == f"hf_format/samples_{8 * best}"
    assert [path.name for path in (plan.parent / "hf_format").iterdir()] == [f"samples_{8 * best}"]
    choice = ModelChoice.load(plan.parent)
    assert choice is not None
    assert (choice.choice, choice.model_dir) == ("best", outcome.model_dir)
    assert choice.held_out_loss == losses[best]
    assert held_out_loss_of(plan) == pytest.approx(losses[best], rel=1e-4)
    assert [path.name for path in plan.parent.glob("best-*")] == [f"best-{best}"]


@pytest.mark.slow
def test_the_last_weights_become_the_model_when_the_last_are_asked_for(plan_file, held_out):
    plan = measured(plan_file(learning_rate=2e-2), held_out, choice="last", every=4)
    outcome = run(plan)
    choice = ModelChoice.load(plan.parent)
    assert choice is not None
    assert outcome.model_dir == choice.model_dir == "hf_format/samples_80"
    assert choice.held_out_loss == metrics_of(plan)[-1]["held_out_loss"]
    assert held_out_loss_of(plan) == pytest.approx(choice.held_out_loss, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [3, 7, 12])
def test_an_interrupted_run_finds_the_same_best_weights(plan_file, held_out, stopped):
    values = {"learning_rate": 2e-2, **RESUMABLE}
    whole = measured(plan_file("whole", **values), held_out)
    run(whole)
    plan = interrupted(measured(plan_file(**values), held_out), stopped)
    run(plan)
    assert ModelChoice.load(plan.parent) == ModelChoice.load(whole.parent)


@pytest.mark.slow
def test_damaged_best_weights_are_made_again(plan_file, held_out):
    values = {"learning_rate": 2e-2, **RESUMABLE}
    whole = measured(plan_file("whole", **values), held_out)
    run(whole)
    plan = interrupted(measured(plan_file(**values), held_out), 12)
    (best,) = plan.parent.glob("best-*")
    flip_a_bit(best / "weights.safetensors")
    said = Said()
    run(plan, said)
    assert any(f"not used: {best.name}" in line for line in said.lines)
    assert any("best held-out loss before it are lost" in line for line in said.lines)
    assert ModelChoice.load(plan.parent) == ModelChoice.load(whole.parent)
