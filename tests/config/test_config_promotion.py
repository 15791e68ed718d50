"""The rules of promotion are refused where they could never be judged."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ft_assets.config import load_pipeline
from ft_assets.config.pipeline import PipelineSpec
from ft_assets.config.promotion import PromotionConfig
from resources.errors import UserError

DATASET = {"uri": "rows.jsonl"}


def _spec(**blocks):
    return PipelineSpec.model_validate({"name": "x", "dataset": DATASET, **blocks})


def test_without_a_word_the_held_out_loss_decides_and_the_tasks_are_guarded():
    promotion = _spec().promotion
    assert promotion.primary == "held_out/loss"
    assert promotion.against_champion == "better"
    assert promotion.forgetting_tasks is None
    assert promotion.correction == "holm"


@pytest.mark.parametrize(
    ("promotion", "said"),
    [
        ({"primary": "loss"}, "write TASK/METRIC, as in held_out/loss"),
        ({"primary": "held_out/bleu"}, "the held-out rows have the metrics loss, token_accuracy"),
        ({"metrics": {"held_out": {}}}, "write TASK/METRIC"),
        ({"metrics": {"mmlu/acc": {"min": 0.1}}}, "names the task 'mmlu', which is not measured"),
        ({"required_tasks": ["mmlu"]}, "promotion.required_tasks names the task 'mmlu'"),
        ({"forgetting_tasks": ["mmlu"]}, "add it to evaluation.tasks, or name one of held_out"),
        ({"primary": "mmlu/acc"}, "promotion.primary names the task 'mmlu'"),
        ({"against_champion": "not_worse"}, "without a margin: set primary_margin"),
        ({"metrics": {"arc_easy/acc": {"margin": 0}}}, "greater than 0"),
        ({"metrics": {"arc_easy/acc": {"min": 2, "max": 1}}}, "no value would pass"),
        ({"metrics": {"held_out/loss": {"against_base": "ignore"}}}, "must be better than the"),
        ({"metrics": {"held_out/loss": {"against_champion": "ignore"}}}, "set better or not_wor"),
        ({"overrule": "because"}, "NAME: REASON"),
        ({"overrule": "Ada:"}, "NAME: REASON"),
        ({"overrule": ": because"}, "NAME: REASON"),
        ({"metrics": {"arc_easy/acc": {}}}, "metrics.arc_easy/acc asks for nothing"),
        ({"metrics": {"held_out/chrf": {"margin": 0.05}}}, "metrics.held_out/chrf.margin 0.05 has"),
        ({"metrics": {"held_out/loss": {"margin": 0.05}}}, "nothing asks that the metric be not_"),
        (
            {"metrics": {"arc_easy/acc": {"margin": 0.05}}, "forgetting_tasks": []},
            "or remove the margin",
        ),
        (
            {
                "metrics": {
                    "arc_easy/acc": {
                        "against_base": "ignore",
                        "against_champion": "better",
                        "margin": 0.05,
                    }
                }
            },
            "or remove the margin",
        ),
        ({"primary_margin": 0.2}, "primary_margin 0.2 has no effect"),
        (
            {
                "against_champion": "not_worse",
                "primary_margin": 0.2,
                "metrics": {"held_out/loss": {"against_champion": "better"}},
            },
            "must be better than the champion's: set against_champion",
        ),
        ({"confidence": 0.9999}, "set bootstrap_draws to 19999 or more, or lower confidence"),
        ({"confidence": 0.999, "bootstrap_draws": 1998}, "bootstrap_draws 1998 are too few for"),
        ({"confidence": 0.9999999}, "lower confidence (it would need 19999999 draws"),
        ({"confidence": 1}, "less than 1"),
        ({"bootstrap_draws": 10}, "greater than or equal to 1000"),
        ({"min_samples": 1}, "greater than or equal to 2"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_refused_at_load(promotion, said):
    with pytest.raises(ValidationError) as error:
        _spec(promotion=promotion)
    assert said in str(error.value)


def test_a_margin_makes_not_worse_a_rule():
    assert _spec(promotion={"against_champion": "not_worse", "primary_margin": 0.01})
    rule = {"against_champion": "not_worse", "margin": 0.01}
    assert _spec(promotion={"metrics": {"held_out/loss": rule}})


@pytest.mark.parametrize(
    "promotion",
    [
        {"metrics": {"arc_easy/acc": {"margin": 0.05}}},
        {"metrics": {"arc_easy/acc": {"margin": 0.05}}, "forgetting_tasks": ["arc_easy"]},
        {"metrics": {"arc_easy/acc": {"margin": 0.05, "against_champion": "ignore"}}},
        {"metrics": {"held_out/chrf": {"margin": 0.05, "against_base": "not_worse"}}},
        {"metrics": {"held_out/chrf": {"min": 0.5}}},
        {"against_champion": "not_worse", "metrics": {"held_out/loss": {"margin": 0.05}}},
    ],
)
def test_a_margin_of_what_must_not_fall_is_a_rule(promotion):
    assert _spec(promotion=promotion)


def test_as_many_draws_as_the_confidence_needs_suffice():
    assert PromotionConfig(confidence=0.999, bootstrap_draws=1999)
    assert PromotionConfig(confidence=0.9999, bootstrap_draws=19_999)


def test_a_loss_on_held_out_rows_needs_held_out_rows():
    nothing_held_out = {**DATASET, "split": 1.0}
    with pytest.raises(ValidationError, match=r"dataset\.split: 1\.0 holds nothing out"):
        _spec(dataset=nothing_held_out)
    assert _spec(dataset=nothing_held_out, promotion={"primary": "arc_easy/acc"})


def test_an_overrule_has_a_name_and_a_reason():
    assert PromotionConfig().overruled_by() is None
    overruled = PromotionConfig(overrule="Ada Lovelace : as agreed: see the minutes")
    assert overruled.overruled_by() == ("Ada Lovelace", "as agreed: see the minutes")


def test_a_pipeline_file_overrules_nobody(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("dataset: {uri: rows.jsonl}\npromotion: {overrule: 'Ada: always'}\n")
    with pytest.raises(UserError, match=r"own\.yaml: promotion\.overrule is for one run, not for"):
        load_pipeline(file)
