"""A candidate wins with evidence only: what is absent, partial or not comparable is refused."""

from __future__ import annotations

import math

import pytest

from ft_assets.config.promotion import MetricRule
from ft_assets.court import Overrule, Verdict
from ft_assets.evaluation.samples import Sample
from tests.court.conftest import QUESTIONS, ROWS, answers, losses, share


def _failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_the_first_version_is_judged_against_the_base_model_alone(first):
    verdict = first.judged()

    assert verdict.passed
    assert verdict.won
    assert {comparison.against for comparison in verdict.comparisons} == {"base"}
    assert verdict.reason.startswith("promoted: held_out/loss is better than the base model's: 1.5")
    assert f"{ROWS} documents" in verdict.reason
    (champion,) = [check for check in verdict.checks if check.name == "beats_champion"]
    assert champion.reason.startswith("no champion to beat")


def test_a_later_version_beats_the_base_model_and_the_champion(second):
    verdict = second.judged()

    assert verdict.passed
    named = {(c.check, c.against, c.rule) for c in verdict.comparisons}
    assert named == {
        ("beats_base", "base", "better"),
        ("beats_champion", "champion", "better"),
        ("no_forgetting", "base", "not_worse"),
        ("no_forgetting", "champion", "not_worse"),
    }
    assert all(c.p_adjusted is not None and c.p_adjusted <= 0.05 for c in verdict.comparisons)


def test_a_comparison_has_the_numbers_of_the_samples(first):
    loss = first.judged().comparisons[0]

    assert (loss.task, loss.metric, loss.against) == ("held_out", "loss", "base")
    base = losses(2.0)
    tokens = sum(sample.ratios["loss"][1] for sample in base)
    assert loss.other == pytest.approx(sum(s.ratios["loss"][0] for s in base) / tokens)
    assert loss.difference == pytest.approx(loss.candidate - loss.other)
    assert loss.low < loss.difference < loss.high < 0
    assert loss.samples == ROWS


def test_a_champions_equal_replaces_nobody(second):
    same = second.samples["tuned"]["held_out"]
    verdict = second.but("champion", held_out=same).judged()

    assert not verdict.passed
    assert _failed(verdict) == ["beats_champion"]
    assert verdict.reason.startswith("held_out/loss is not proven better than the champion's: ")


def test_a_team_that_trains_on_a_schedule_lets_an_equal_follow(second):
    same = second.samples["tuned"]["held_out"]
    verdict = second.but("champion", held_out=same).judged(
        against_champion="not_worse", primary_margin=0.02
    )

    assert verdict.passed
    assert "held_out/loss did not rise by more than 0.02 against the champion's" in verdict.reason


def test_a_model_that_is_worse_is_told_so(first):
    verdict = first.swapped().judged()

    assert not verdict.passed
    assert _failed(verdict) == ["beats_base"]
    assert verdict.reason.startswith("held_out/loss is worse than the base model's: ")


def test_a_general_task_must_not_fall_by_more_than_the_margin(first):
    verdict = first.but("tuned", arc=share(160)).judged()

    assert _failed(verdict) == ["no_forgetting"]
    assert verdict.reason.startswith(
        "arc/acc fell by more than 0.03 against the base model's: 0.4000 against 0.5000 "
        "(difference -0.1000, 95 % interval "
    )


def test_too_few_documents_do_not_prove_that_nothing_was_forgotten(first):
    few = {"arc": share(20, of=40)}
    verdict = first.but("base", **few).but("tuned", **few).judged()

    assert _failed(verdict) == ["no_forgetting"]
    assert verdict.reason.startswith("arc/acc may fall by more than 0.03 against the base model's")


def test_forgetting_is_guarded_where_the_pipeline_says(first):
    forgot = first.but("tuned", arc=share(160))

    assert not forgot.judged().passed
    assert forgot.judged(forgetting_tasks=[]).passed
    assert forgot.judged(forgetting_margin=0.2).passed


@pytest.mark.parametrize(
    ("rule", "passes", "said"),
    [
        ({"min": 0.49}, True, ""),
        ({"min": 0.51}, False, "arc/acc is 0.5000, below the min of 0.51"),
        ({"max": 0.51}, True, ""),
        ({"max": 0.49}, False, "arc/acc is 0.5000, above the max of 0.49"),
        ({"against_base": "better"}, False, "arc/acc is not proven better than the base model's"),
        ({"against_base": "ignore"}, True, ""),
    ],
)
def test_a_rule_of_a_single_metric(first, rule, passes, said):
    verdict = first.judged(metrics={"arc/acc": MetricRule(**rule)})

    assert verdict.passed is passes
    assert passes or verdict.reason.startswith(said)


def test_a_part_of_the_documents_decides_nothing(first):
    verdict = first.with_summary(partial=True).judged()

    assert _failed(verdict) == ["complete"]
    assert "evaluation.limit" in verdict.reason


def test_a_task_that_is_absent_decides_nothing(first):
    models = {
        name: model.model_copy(update={"tasks": {}}) for name, model in first.summary.models.items()
    }
    verdict = first.with_summary(models=models).judged()

    assert "complete" in _failed(verdict)
    assert verdict.reason.startswith("arc is required, but the candidate has no results in it")


@pytest.mark.parametrize("model", ["tuned", "base"])
def test_samples_that_are_absent_decide_nothing(first, model):
    first.write()
    (first.folder / model / "arc.jsonl").unlink()
    kept = first.__class__(
        first.folder,
        {
            name: {task: s for task, s in tasks.items() if (name, task) != (model, "arc")}
            for name, tasks in first.samples.items()
        },
        {"models": first.summary.models},
    )
    verdict = kept.judged()

    assert not verdict.passed
    assert any("there are no samples of arc" in reason for reason in verdict.reasons)


def test_a_metric_that_is_absent_decides_nothing(first):
    verdict = first.judged(primary="held_out/chrf")

    assert not verdict.passed
    assert "held_out/chrf was not measured for the candidate" in verdict.reason


def test_without_held_out_rows_nothing_is_known(first):
    empty = first.but("tuned", held_out=[]).but("base", held_out=[])
    verdict = empty.judged()

    assert "complete" in _failed(verdict)
    assert "held_out is required" in verdict.reason


@pytest.mark.parametrize("model", ["tuned", "base"])
@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_one_score_that_is_not_finite_closes(first, model, value):
    samples = share(200)
    samples[7] = Sample(id="7", metrics={"acc": value})
    verdict = first.but(model, arc=samples).judged()

    assert not verdict.passed
    assert "arc/acc is not a finite number for 1 of 400 documents" in verdict.reason
    assert "(the first: 7)" in verdict.reason


@pytest.mark.parametrize("model", ["tuned", "base"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_loss_that_is_not_finite_closes(first, model, value):
    samples = list(first.samples[model]["held_out"])
    tokens = samples[7].ratios["loss"][1]
    samples[7] = samples[7].model_copy(update={"ratios": {"loss": (value, tokens)}})
    verdict = first.but(model, held_out=samples).judged()

    assert not verdict.passed
    assert f"held_out/loss is not a finite number for 1 of {ROWS} documents" in verdict.reason
    assert f"(the first: {samples[7].id})" in verdict.reason


def test_fewer_documents_than_the_minimum_close(first):
    assert first.judged(min_samples=ROWS).passed
    verdict = first.judged(min_samples=ROWS + 1)

    assert _failed(verdict) == ["complete", "beats_base"]
    assert "60 documents are fewer than promotion.min_samples (61)" in verdict.reason


def test_a_threshold_needs_as_many_documents_as_a_comparison(first):
    answered = [
        sample.model_copy(update={"metrics": {"chrf": 0.9} if place < 40 else {}})
        for place, sample in enumerate(first.samples["tuned"]["held_out"])
    ]
    asked = first.but("tuned", held_out=answered)
    rules = {"held_out/chrf": MetricRule(min=0.5)}

    assert asked.judged(metrics=rules, min_samples=40).passed
    verdict = asked.judged(metrics=rules, min_samples=41)
    assert _failed(verdict) == ["complete", "beats_base"]
    assert "held_out/chrf: 40 documents are fewer than promotion.min_samples (41)" in verdict.reason


def test_a_threshold_says_of_how_many_documents_the_value_is(first):
    verdict = first.judged(metrics={"arc/acc": MetricRule(min=0.49)})
    said = "arc/acc is 0.5000, at least the min of 0.49 (400 documents)"
    assert said in [comparison.reason for comparison in verdict.comparisons]


def test_a_missing_base_model_closes(first):
    verdict = first.without("base").judged()

    assert not verdict.passed
    assert verdict.reason.startswith("the base model was not evaluated")


def test_a_missing_candidate_closes(first):
    assert first.without("tuned").judged().reason.startswith("the candidate was not evaluated")


def test_a_champion_that_was_not_evaluated_closes(first):
    verdict = first.judged(champion_expected=True)

    assert _failed(verdict) == ["complete", "beats_champion"]
    assert verdict.reason.startswith("the model has a champion, but this evaluation does not hold")


def test_other_documents_close(first):
    moved = [s.model_copy(update={"id": f"other-{s.id}"}) for s in losses(2.0)[:5]]
    verdict = first.but("base", held_out=[*moved, *losses(2.0)[5:]]).judged()

    assert not verdict.passed
    assert "of which 55 are the same" in verdict.reason


def test_the_order_of_the_documents_does_not_matter(first):
    turned = first.but("base", held_out=losses(2.0)[::-1])

    assert turned.judged().comparisons[0].other == pytest.approx(
        first.judged().comparisons[0].other
    )
    assert turned.judged().passed


def test_documents_that_one_model_skipped_close(first):
    skipped = [Sample(id="row-0", skipped="too long"), *losses(2.0)[1:]]
    verdict = first.but("base", held_out=skipped).judged()

    assert not verdict.passed
    assert "1 of 60 documents were scored for the candidate alone" in verdict.reason


def test_documents_that_both_skipped_are_left_out(first):
    skipped = Sample(id="row-0", skipped="too long")
    both = first.but("base", held_out=[skipped, *losses(2.0)[1:]]).but(
        "tuned", held_out=[skipped, *first.samples["tuned"]["held_out"][1:]]
    )

    assert both.judged().passed
    assert both.judged().comparisons[0].samples == ROWS - 1


def test_a_truncated_file_of_samples_closes(first):
    cut = first.but("base", held_out=losses(2.0)[:50]).but(
        "tuned", held_out=first.samples["tuned"]["held_out"][:50]
    )
    verdict = cut.with_summary(documents={"held_out": ROWS, "arc": QUESTIONS}).judged()

    assert not verdict.passed
    assert "held_out has samples of 50 documents" in verdict.reason


def test_another_tokenisation_closes_a_loss_per_token(first):
    longer = [
        s.model_copy(update={"ratios": {"loss": (s.ratios["loss"][0], s.ratios["loss"][1] + 1)}})
        for s in losses(2.0)
    ]
    verdict = first.but("base", held_out=longer).judged()

    assert not verdict.passed
    assert "cut 60 of 60 documents into different tokens" in verdict.reason


def test_different_engines_close(first):
    backends = {"base": {"arc": "hf", "held_out": "hf"}, "tuned": {"arc": "vllm", "held_out": "hf"}}
    verdict = first.with_summary(backends=backends).judged()

    assert "arc was run by vllm for the candidate and by hf for the base model" in verdict.reason


def test_a_metric_of_unknown_direction_closes(first):
    unknown = first.with_summary(higher_is_better={"arc": {"acc": None}})

    assert "no score between 0 and 1" in unknown.judged().reason
    named = unknown.judged(metrics={"arc/acc": MetricRule(against_base="not_worse")})
    assert "nobody says whether more of it is better" in named.reason


def test_a_group_is_judged_on_the_documents_of_its_tasks(first):
    parts = {"mmlu_a": share(100, of=200), "mmlu_b": share(100, of=200)}
    grouped = first.but("base", **parts).but("tuned", **parts)
    models = {
        name: model.model_copy(update={"tasks": {"mmlu": {"acc": 0.5}, **model.tasks}})
        for name, model in grouped.summary.models.items()
    }
    grouped = grouped.with_summary(models=models, leaves={"mmlu": ["mmlu_a", "mmlu_b"]})
    verdict = grouped.judged(
        metrics={"mmlu/acc": MetricRule(against_base="not_worse")}, required_tasks=["mmlu"],
        forgetting_tasks=["mmlu"],
    )  # fmt: skip

    assert verdict.passed
    assert [c.samples for c in verdict.comparisons if c.task == "mmlu"] == [400]


def test_each_reason_is_one_sentence_and_the_verdict_counts_them(first):
    verdict = first.swapped().but("tuned", arc=share(100)).judged()

    assert len(verdict.reasons) == 2
    assert verdict.reason == f"{verdict.reasons[0]} (and 1 more reason)"
    assert all("\n" not in reason for reason in verdict.reasons)


def test_a_person_overrules_and_is_named(first):
    lost = first.swapped()
    verdict = lost.judged(overrule="Ada Lovelace: the base model may not be used any more")

    assert verdict.passed
    assert not verdict.won
    assert verdict.overruled == Overrule(
        name="Ada Lovelace", reason="the base model may not be used any more"
    )
    assert verdict.reason.startswith(
        "overruled by Ada Lovelace (the base model may not be used any more), against: held_out/"
    )
    assert verdict.reasons == lost.judged().reasons, "what spoke against it is kept"


def test_an_overrule_that_was_not_needed_is_none(first):
    assert first.judged(overrule="Ada: please").overruled is None


def test_the_correction_makes_each_claim_harder(second):
    plain, corrected = second.judged(correction="none"), second.judged()

    for one, other in zip(plain.comparisons, corrected.comparisons, strict=True):
        assert one.p_adjusted == one.p_value == other.p_value
        assert other.p_adjusted >= one.p_adjusted


TOO_FEW = "promotion.bootstrap_draws (1000) are too few to prove {} comparisons at confidence 0.997"


def test_too_few_draws_for_so_many_comparisons_are_a_reason(second):
    verdict = second.judged(confidence=0.997)

    assert not verdict.passed
    assert verdict.reason.startswith(
        f"{TOO_FEW.format(4)}: set bootstrap_draws to 2666 or more, or lower confidence"
    )
    assert not any("too few" in r for r in second.judged(bootstrap_draws=2666).reasons)


def test_what_is_not_corrected_needs_fewer_draws(second):
    verdict = second.judged(confidence=0.997, correction="none")
    assert not any("too few" in reason for reason in verdict.reasons)
    assert [c.passed for c in verdict.comparisons if c.test == "bootstrap"] == [True, True]


def test_a_comparison_that_no_draw_spoke_against_says_what_stopped_it(first):
    # One comparison by the bootstrap would do with these draws, but not beside one that is lost.
    verdict = first.but("tuned", arc=share(195)).judged(confidence=0.997)
    assert verdict.reasons[0].startswith(TOO_FEW.format(2))


def test_the_same_evaluation_gives_the_same_verdict(second):
    assert second.judged() == second.judged()


def test_a_verdict_survives_its_file(second):
    verdict = second.judged()
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_a_task_with_wrong_answers_only_is_compared_too(first):
    none = {"arc": answers([False] * QUESTIONS)}
    assert first.but("base", **none).but("tuned", **none).judged().passed
