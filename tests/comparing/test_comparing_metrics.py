"""Which scores of two versions may be compared, and the ones that were taken side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ft_assets.comparing.metrics import MetricChange
from ft_assets.comparing.replaced import Replaced, replaced_champion
from tests.comparing.conftest import History, Past

FIRST = Past(tasks={"arc": {"acc": 0.5, "acc_stderr": 0.02}}, task_versions={"arc": "1:aa"})
BETTER = replace(FIRST, loss=2.0, training={"learning_rate": 0.1})


@pytest.fixture
def first(history: History):
    return history.register(FIRST)


def metric(history: History, old, new, name: str = "held_out/loss") -> MetricChange:
    return next(one for one in history.compare(old, new).metrics if one.metric == name)


def test_the_same_rows_and_the_same_scoring_are_compared(history, first):
    found = metric(history, first, history.register(BETTER))
    assert found.comparable
    assert found.difference == pytest.approx(-0.5)
    assert found.higher_is_better is False
    assert (found.old_stderr, found.new_stderr) == (0.1, 0.1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"held_out": range(200, 204)}, "other held-out rows"),
        ({"left_out": 1}, "0, then 1 were left out because a champion was trained on them"),
        ({"tokens": 99}, "the two models cut the rows into different tokens"),
        ({"held_out_version": "3:x"}, "another release scored the held-out rows in another way"),
        ({"partial": True}, "only a part of the documents was asked"),
        ({"backends": {"held_out": "vllm"}}, "run by unknown, then by vllm"),
    ],
)
def test_what_was_not_asked_alike_is_not_compared(history, first, change, why):
    found = metric(history, first, history.register(replace(BETTER, **change)))
    assert not found.comparable
    assert why in found.why_not
    assert found.difference is None
    assert (found.old, found.new) == (2.5, 2.0)


def test_longer_answers_change_what_answers_score_and_not_the_loss(history, first):
    longer = replace(BETTER, held_out_version="2:longer", evaluation={"max_new_tokens": 64})
    second = history.register(longer)
    assert metric(history, first, second).comparable
    answers = metric(history, first, second, "held_out/chrf")
    assert answers.why_not == "evaluation.max_new_tokens changed"


def test_a_task_is_compared_in_the_same_version_alone(history, first):
    same = history.register(BETTER)
    other = history.register(replace(BETTER, loss=1.9, task_versions={"arc": "1:bb"}))
    assert metric(history, first, same, "arc/acc").comparable
    found = metric(history, first, other, "arc/acc")
    assert found.why_not == "another version of arc (1:aa, then 1:bb)"
    assert (found.old, found.old_stderr) == (0.5, 0.02)


def test_a_task_that_only_one_was_asked_is_shown(history, first):
    second = history.register(replace(BETTER, tasks={}, task_versions={}))
    found = metric(history, first, second, "arc/acc")
    assert (found.old, found.new, found.comparable) == (0.5, None, False)


# --- side by side, in the report of one of them


@pytest.fixture
def second(history, first):
    past = replace(BETTER, held_out=range(200, 204))
    return history.register(past, champion=first, champion_loss=2.2)


def test_scores_on_the_same_rows_stand_beside_those_on_other_ones(history, first, second):
    found = metric(history, first, second)
    assert (found.old, found.new, found.comparable) == (2.5, 2.0, False)
    beside = found.same_documents
    assert beside is not None
    assert (beside.old, beside.new) == (2.2, 2.0)
    assert (beside.low, beside.high) == (pytest.approx(-0.25), pytest.approx(-0.15))
    assert (beside.documents, beside.report_of) == (4, "assistant 1.0.1")
    assert history.compare(first, second).changed.endswith(
        "held-out loss 2.5000 -> 2.0000 on other rows, 2.2000 -> 2.0000 on the same ones"
    )


def test_looked_at_from_the_other_end_the_interval_turns_round(history, first, second):
    beside = metric(history, second, first).same_documents
    assert beside is not None
    assert (beside.old, beside.new) == (2.0, 2.2)
    assert (beside.low, beside.high) == (pytest.approx(0.15), pytest.approx(0.25))


def test_a_report_that_met_another_champion_says_nothing_of_this_one(history, first, second):
    third = history.register(replace(BETTER, loss=1.5, held_out=range(300, 304)), champion=second)
    assert metric(history, first, third).same_documents is None


def test_the_champion_before_is_the_one_that_the_report_names(history, first, second):
    history.registry.set_champion("assistant", "1.0.0")
    assert replaced_champion(second, history.store) == Replaced("assistant", "1.0.0")
    assert replaced_champion(first, history.store) is None
