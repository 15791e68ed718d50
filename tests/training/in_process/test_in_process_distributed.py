"""Several processes train one model: what they learn is what one would have learned."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ft_assets.training.outcome import TrainOutcome
from tests.support.training_runs import metrics_of, run
from tests.support.warm_ranks import WarmRanks, warm_ranks

pytestmark = pytest.mark.slow

Plan = Callable[..., Path]
RUN: dict[str, Any] = {"rows": 18, "held_out": 5, "validation_steps": 2, "num_epochs": 2}
"""Batches of 8, 8 and 2 rows: the last one is smaller."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Generator[WarmRanks]:
    with warm_ranks(tmp_path_factory.mktemp("ranks")) as warm:
        yield warm


def trained(plan: Path, outcome: TrainOutcome) -> dict[str, torch.Tensor]:
    return load_file(plan.parent / outcome.model_dir / "model.safetensors")


def assert_same_run(plan: Path, outcome: TrainOutcome, alone: Path, ours: TrainOutcome) -> None:
    """Every step's loss and gradient, the held-out loss and the weights agree to 1 in 10,000."""
    steps, expected = metrics_of(plan), metrics_of(alone)
    assert len(steps) == len(expected)
    for step, one in zip(steps, expected, strict=True):
        for name in ("loss", "grad_norm", "held_out_loss", "learning_rate"):
            assert step[name] == (None if one[name] is None else pytest.approx(one[name], rel=1e-4))
        assert (step["tokens"], step["trained_tokens"]) == (one["tokens"], one["trained_tokens"])
    weights = trained(plan, outcome)
    for name, tensor in trained(alone, ours).items():
        largest = float(tensor.abs().max())
        assert torch.allclose(weights[name], tensor, rtol=1e-4, atol=1e-4 * largest), name


@pytest.mark.parametrize(
    ("algorithm", "size", "values"),
    [
        ("sft", 2, {"weight_decay": 0.1, "micro_batch_size": 2}),
        ("sft", 4, {}),  # of the last batch of an epoch half the processes have no row
        ("lora_sft", 2, {"learning_rate": 1e-2}),
        ("osft", 2, {"unfreeze_rank_ratio": 0.5}),
    ],
)
def test_processes_learn_together_what_one_learns_alone(
    plan_file: Plan,
    tiny_model: Path,
    ranks: WarmRanks,
    *,
    algorithm: str,
    size: int,
    values: dict[str, Any],
) -> None:
    alone = plan_file("alone", algorithm=algorithm, **RUN, **values)
    ours = run(alone)
    plan = plan_file("together", algorithm=algorithm, **RUN, **values)
    ends = ranks.train(plan, tiny_model, size)
    assert [end.status for end in ends.values()] == [0] * size
    assert [rank for rank, end in ends.items() if end.outcome] == [0]
    outcome = ends[0].outcome
    assert outcome is not None
    assert outcome.settings["processes"] == size
    assert (outcome.rows, outcome.tokens) == (ours.rows, ours.tokens)
    assert (outcome.steps, outcome.model_dir) == (ours.steps, ours.model_dir)
    assert_same_run(plan, outcome, alone, ours)


def test_all_end_after_the_same_step_when_one_is_told_to_and_go_on_together(
    plan_file: Plan, tiny_model: Path, ranks: WarmRanks
) -> None:
    plan = plan_file("stopped", **RUN)
    ends = ranks.train(plan, tiny_model, 2, stop=(1, 3, "SIGTERM"))
    assert [end.status for end in ends.values()] == [130, 130]
    assert (plan.parent / "checkpoint-3" / "manifest.json").exists()
    assert not (plan.parent / "hf_format").exists()

    ends = ranks.train(plan, tiny_model, 2)
    assert ends[0].outcome is not None
    assert ends[0].outcome.resumed_from_step == 3
    through = plan_file("through", **RUN)
    whole = ranks.train(through, tiny_model, 2)[0].outcome
    assert whole is not None
    resumed = trained(plan, ends[0].outcome)
    assert all(torch.equal(resumed[name], t) for name, t in trained(through, whole).items())


def test_one_that_is_killed_ends_the_others(
    plan_file: Plan, tiny_model: Path, ranks: WarmRanks
) -> None:
    ends = ranks.train(plan_file("killed", **RUN), tiny_model, 2, stop=(1, 2, "SIGKILL"))
    assert ends.keys() == {0}
    assert (ends[0].status, ends[0].lost) == (1, True)


def test_bad_input_is_said_by_the_process_that_finds_it(
    plan_file: Plan, tiny_model: Path, ranks: WarmRanks, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"][0] = math.inf
    from safetensors.torch import save_file

    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    ends = ranks.train(plan_file("unhealthy", **RUN), base, 2)
    assert ends[0].status == 2
    assert "at step 1: lower training." in ends[0].message
    assert ends[1].lost
