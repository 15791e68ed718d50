"""A score that lm-eval took through a filter (``exact_match,strict-match``) counts like others."""

from __future__ import annotations

import pytest

from ft_assets.cards.results import results
from ft_assets.config.promotion import MetricRule
from ft_assets.evaluation.samples import Sample
from tests.court.conftest import Evaluation

STRICT, FLEXIBLE = "exact_match,strict-match", "exact_match,flexible-extract"


def _solved(right: int) -> list[Sample]:
    return [
        Sample(id=f"{place}", metrics={STRICT: float(place < right), FLEXIBLE: 1.0})
        for place in range(1000)
    ]


@pytest.fixture
def gsm8k(first: Evaluation) -> Evaluation:
    """As lm-eval has it: the direction is that of the metric, without the filter."""
    asked = first.but("base", gsm8k=_solved(500)).but("tuned", gsm8k=_solved(500))
    directions = {"arc": {"acc": True}, "gsm8k": {"exact_match": True}}
    return asked.with_summary(higher_is_better=directions)


def test_it_is_guarded_by_default(gsm8k):
    verdict = gsm8k.judged()

    assert verdict.passed, verdict.reason
    assert {c.metric for c in verdict.comparisons if c.task == "gsm8k"} == {STRICT, FLEXIBLE}
    assert not gsm8k.but("tuned", gsm8k=_solved(300)).judged().passed


def test_a_rule_can_name_it(gsm8k):
    rules = {f"gsm8k/{STRICT}": MetricRule(against_base="better")}
    better = gsm8k.but("tuned", gsm8k=_solved(600))

    assert better.judged(metrics=rules).passed
    assert "is not proven better" in gsm8k.judged(metrics=rules).reason


def test_a_direction_of_the_filtered_score_itself_goes_first(gsm8k):
    directions = {"arc": {"acc": True}, "gsm8k": {"exact_match": True, STRICT: False}}
    fell = gsm8k.with_summary(higher_is_better=directions).but("tuned", gsm8k=_solved(300))
    verdict = fell.judged()
    (strict,) = [c for c in verdict.comparisons if c.metric == STRICT]
    assert strict.passed
    assert "did not rise by more than 0.03" in strict.reason


def test_the_card_says_what_is_better_too(gsm8k):
    models = {
        name: model.model_copy(update={"tasks": {"gsm8k": {STRICT: 0.5}}})
        for name, model in gsm8k.summary.models.items()
    }
    shown = results(gsm8k.with_summary(models=models).summary)
    assert [r.higher_is_better for r in shown if r.metric == STRICT] == [True]
