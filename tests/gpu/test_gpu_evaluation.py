"""A model evaluated on an NVIDIA GPU: held-out rows and lm-eval's own path, as on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from ft_assets.evaluation.models import check_model, load
from ft_assets.evaluation.plan import EvaluationPlan, ModelUnderTest
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.evaluation.worker import main
from tests.evaluation.conftest import ROWS, write_rows
from tests.support.tiny_model import make_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU"),
    pytest.mark.timeout(600),
]

Evaluate = Callable[..., EvaluationSummary]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    model = make_tiny_model(tmp_path / "model", seed=0)
    held_out = write_rows(tmp_path / "held_out.jsonl", ROWS)

    def run(name: str, **model_args: str) -> EvaluationSummary:
        output = tmp_path / name
        output.mkdir()
        plan = EvaluationPlan(
            models=[ModelUnderTest(name="base", path=str(model), digest="")],
            held_out=str(held_out),
            output_dir=str(output),
            model_args=dict(model_args),
            held_out_generations=2,
        )
        (output / "plan.json").write_text(plan.model_dump_json())
        assert main([str(output / "plan.json")]) == 0
        return EvaluationSummary.model_validate(json.loads((output / "results.json").read_text()))

    return run


def test_the_gpu_gives_the_losses_of_the_cpu(evaluate: Evaluate) -> None:
    on_gpu = evaluate("gpu", dtype="float32").models["base"].held_out
    on_cpu = evaluate("cpu", device="cpu").models["base"].held_out
    assert on_gpu is not None
    assert on_cpu is not None
    assert on_gpu.loss == pytest.approx(on_cpu.loss, abs=1e-3)
    assert (on_gpu.rows, on_gpu.tokens) == (on_cpu.rows, on_cpu.tokens)


@pytest.mark.parametrize("model_args", [{}, {"device_map": "auto"}])
def test_weights_are_put_on_the_gpu_as_they_were_saved(
    tmp_path: Path, model_args: dict[str, str]
) -> None:
    folder = make_tiny_model(tmp_path / "model", seed=0)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    plan = EvaluationPlan(
        models=[ModelUnderTest(name="base", path=str(folder), digest="")],
        held_out=None,
        output_dir=str(tmp_path),
        model_args=dict(model_args),
    )
    lm = load(check_model(plan.models[0], plan, None), plan)
    assert (lm.model.dtype, lm.model.device.type) == (torch.bfloat16, "cuda")
