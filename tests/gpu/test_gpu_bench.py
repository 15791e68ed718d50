"""What the GPU benchmark computes from files and numbers; no GPU is needed for that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.gpu.model import SHAPES, make_model, write_rows
from bench.gpu.train import WARM_UP_STEPS, rate, summary, utilisation
from ft_assets.data.row_files import read_rows


def test_the_rate_leaves_the_first_steps_out(tmp_path: Path):
    slow, fast = (
        {"loss": 1.0, "num_samples": 8.0, "time_per_batch": seconds} for seconds in (100.0, 2.0)
    )
    lines = [slow] * WARM_UP_STEPS + [fast] * 2
    file = tmp_path / "training_metrics_0.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert rate("osft", tmp_path, per_row=10.0) == 40.0


def test_the_rate_of_instructlab_training_is_of_its_steps_alone(tmp_path: Path):
    step = {"avg_loss": 1.0, "batch_size": 8, "overall_throughput": 4.0}
    lines = [{"num_gpus": 1}, *[step] * (WARM_UP_STEPS + 2)]
    file = tmp_path / "training_params_and_metrics_global0.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert rate("sft", tmp_path, per_row=10.0) == 40.0


def test_utilisation_is_six_operations_per_parameter_and_token_over_the_peak():
    assert utilisation(10**9, 989e12 / 6e9, "NVIDIA H200") == pytest.approx(1.0)
    assert utilisation(10**9, 1.0, "a GPU that is not listed") is None


def test_the_summary_takes_medians_in_turn():
    def runs(*rates: float) -> list[dict[str, float]]:
        return [{"tokens_per_second": rate, "wall_seconds": 1.0} for rate in rates]

    result = summary({"ours": runs(98, 99, 1000), "by_hand": runs(100, 90, 110)}, 1, "none")
    assert result["throughput_ratio"] == 0.99
    assert result["mfu"] is None


def test_the_model_has_the_shape_that_its_name_says(tmp_path: Path):
    from transformers import AutoConfig, AutoTokenizer

    parameters = make_model(tmp_path, "tiny")
    config = AutoConfig.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in SHAPES["tiny"]} == SHAPES["tiny"]
    assert parameters > SHAPES["tiny"]["vocab_size"] * SHAPES["tiny"]["hidden_size"]
    assert len(AutoTokenizer.from_pretrained(tmp_path)) <= SHAPES["tiny"]["vocab_size"]


def test_the_rows_are_the_same_each_time(tmp_path: Path):
    one, two = (write_rows(tmp_path / name, 5, words=20) for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
    assert len(list(read_rows(one))) == 5
