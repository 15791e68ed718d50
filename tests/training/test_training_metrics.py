"""One line per step, in which NaN and infinities can still be seen."""

from __future__ import annotations

import json
import math

import pytest

from ft_assets.training.metrics import StepMetrics, read_metrics


def step(**values: float) -> StepMetrics:
    given = {"step": 1, "total_steps": 2, "epoch": 0.5, "loss": 2.0, "time": 1.0, **values}
    return StepMetrics(**{"learning_rate": None, "grad_norm": None, **given})


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_what_is_not_finite_is_kept_and_the_line_is_json_of_any_reader(tmp_path, value, text):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    line = step(loss=value, grad_norm=value).line()
    assert json.loads(line, parse_constant=refuse)["loss"] == text
    (tmp_path / "m.jsonl").write_text(line)
    (read,) = read_metrics(tmp_path / "m.jsonl")
    assert read.loss == pytest.approx(value, nan_ok=True)
    assert read.grad_norm == pytest.approx(value, nan_ok=True)
    assert step(loss=value).numbers()["loss"] == text


def test_a_line_says_what_it_does_not_know_and_a_report_leaves_it_out():
    assert json.loads(step().line())["held_out_loss"] is None
    assert step().numbers() == {
        "step": 1,
        "total_steps": 2,
        "epoch": 0.5,
        "loss": 2.0,
        "time": 1.0,
    }


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_text(step().line() + step(step=2).line()[:30])
    assert [metrics.step for metrics in read_metrics(file)] == [1]
    assert list(read_metrics(tmp_path / "none.jsonl")) == []
