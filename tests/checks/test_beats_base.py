"""The check before registration fails closed: what is not known to be better is not."""

from __future__ import annotations

import math

import dagster as dg
import pytest

from ft_assets.checks.beats_base import NAME, Verdict, check_result, check_spec, judge
from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary, ModelSummary


def _model(loss: float | None) -> ModelSummary:
    return ModelSummary(
        held_out=HeldOutSummary(
            loss=loss,
            loss_stderr=0.1,
            perplexity=1.0,
            perplexity_stderr=0.1,
            token_accuracy=0.5,
            token_accuracy_stderr=0.1,
            rows=9,
            tokens=90,
            truncated=0,
            skipped=0,
        ),
        tasks={},
    )


def _judged(partial: bool = False, **losses: float | None) -> Verdict:
    models = {name: _model(loss) for name, loss in losses.items()}
    return judge(EvaluationSummary(models=models, partial=partial))


def test_a_lower_loss_on_held_out_rows_wins():
    verdict = _judged(base=2.0, tuned=1.5)
    assert verdict.passed
    assert verdict.reason == (
        "held-out loss 1.5000 against 2.0000 of the base model (-25.0 %): better"
    )


@pytest.mark.parametrize("tuned", [2.0, 2.0000001, 9.0])
def test_an_equal_or_higher_loss_does_not(tuned):
    verdict = _judged(base=2.0, tuned=tuned)
    assert not verdict.passed
    assert verdict.reason.endswith("not better")


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -math.inf])
def test_a_loss_that_is_absent_or_not_finite_does_not(loss):
    assert not _judged(base=2.0, tuned=loss).passed
    assert not _judged(base=loss, tuned=1.0).passed
    assert _judged(base=2.0, tuned=loss).reason == (
        "the tuned model has no finite loss on held-out rows"
    )


def test_a_missing_model_does_not():
    assert not _judged(tuned=1.0).passed
    assert not _judged(base=2.0).passed


def test_without_held_out_rows_nothing_is_known():
    nothing = ModelSummary(held_out=None, tasks={"arc": {"acc": 0.9}})
    summary = EvaluationSummary(models={"base": nothing, "tuned": nothing}, partial=False)
    assert not judge(summary).passed


def test_a_part_of_the_rows_decides_nothing():
    verdict = _judged(partial=True, base=2.0, tuned=1.0)
    assert not verdict.passed
    assert "evaluation.limit" in verdict.reason


def test_the_check_blocks_and_has_a_status_for_each_drop():
    drops = dg.DynamicPartitionsDefinition(name="drops")
    spec = check_spec(["demo", "eval_report"], drops)
    assert (spec.name, spec.asset_key) == (NAME, dg.AssetKey(["demo", "eval_report"]))
    assert spec.blocking
    assert spec.partitions_def == drops


def test_the_check_is_declared_without_a_warning(recwarn):
    check_spec(["demo", "eval_report"], dg.DynamicPartitionsDefinition(name="drops"))
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("passed", [True, False])
def test_the_verdict_is_dagsters_result_and_a_failure_is_an_error(passed):
    result = check_result(["demo", "eval_report"], Verdict(passed=passed, reason="because"))
    assert result.passed is passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert result.description == "because"
