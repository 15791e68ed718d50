"""The summary of an evaluation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ft_assets.evaluation.scores import RowScore, TurnScore
from ft_assets.evaluation.summary import EvaluationSummary, summarise


def row(number: int, *turns: tuple[float, int, int], left_out: int = 0) -> RowScore:
    return RowScore(number, f"r{number}", 50, tuple(TurnScore(*t) for t in turns), left_out)


BASE = [row(1, (6.0, 3, 1)), row(2, (8.0, 2, 0), (1.0, 1, 1)), row(3, (5.0, 4, 2))]
TUNED = [row(1, (3.0, 3, 2)), row(2, (4.0, 2, 1), (1.0, 1, 1)), row(3, (4.0, 4, 2))]


def test_loss_perplexity_and_accuracy_are_per_token() -> None:
    summary = summarise({"base": BASE}, {}, partial=False).models["base"].held_out
    assert summary is not None
    assert summary.loss == pytest.approx(2.0)
    assert summary.perplexity == pytest.approx(math.exp(2.0))
    assert summary.perplexity_stderr == pytest.approx(math.exp(2.0) * summary.loss_stderr)
    assert summary.token_accuracy == pytest.approx(0.4)
    assert (summary.rows, summary.tokens, summary.truncated, summary.skipped) == (3, 10, 0, 0)


def test_truncated_and_skipped_rows_are_counted_with_the_reason() -> None:
    rows = [row(1, (6.0, 3, 1), left_out=2), RowScore(2, None, 99, left_out=1, skipped="long")]
    summary = summarise({"base": rows}, {}, partial=False).models["base"].held_out
    assert summary is not None
    assert (summary.rows, summary.truncated, summary.skipped) == (1, 1, 1)
    assert summary.skip_reasons == {"long": 1}


def test_metrics_of_lm_eval_become_plain_numbers() -> None:
    metrics = {
        "name": "mc",
        "alias": "mc",
        "sample_len": 5,
        "acc,none": np.float64(0.25),
        "acc_stderr,none": 0.1,
        "word_perplexity,none": 12,
        "word_perplexity_stderr,none": "N/A",
        "exact_match,strict": 1.0,
    }
    summary = summarise({"base": None}, {"base": {"mc": metrics}}, partial=False)
    assert summary.models["base"].held_out is None
    assert summary.models["base"].tasks["mc"] == {
        "acc": 0.25,
        "acc_stderr": 0.1,
        "word_perplexity": 12.0,
        "word_perplexity_stderr": None,
        "exact_match,strict": 1.0,
    }
    assert summary.not_finite == []


def test_a_number_that_is_not_finite_is_null_and_named() -> None:
    broken = [row(1, (math.nan, 3, 1)), *BASE[1:]]
    tasks = {"base": {"mc": {"acc,none": math.inf}}}
    summary = summarise({"base": broken}, tasks, partial=False)
    text = summary.model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["models"]["base"]["held_out"]["loss"] is None
    assert summary.not_finite == [
        "base.held_out.loss",
        "base.held_out.loss_stderr",
        "base.held_out.perplexity",
        "base.held_out.perplexity_stderr",
        "base.tasks.mc.acc",
    ]


def test_a_summary_can_be_read_back() -> None:
    summary = summarise({"base": BASE, "tuned": TUNED}, {}, partial=True, seconds={"base": 1.5})
    assert EvaluationSummary.model_validate_json(summary.model_dump_json()) == summary


def test_a_summary_of_an_older_evaluation_can_be_read() -> None:
    summary = summarise({"base": BASE, "tuned": TUNED}, {}, partial=False)
    older = json.loads(summary.model_dump_json(exclude={"leaves"}))
    older["differences"] = {"tuned": {"loss": -0.8, "loss_stderr": 0.1, "rows": 3}}
    assert EvaluationSummary.model_validate(older) == summary
    assert EvaluationSummary.model_validate_json(json.dumps(older)) == summary
