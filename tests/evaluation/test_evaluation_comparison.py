"""Models are compared document by document, and the worst documents come first."""

from __future__ import annotations

from pathlib import Path

import pytest

from ft_assets.evaluation.comparison import aligned, better_when_higher, task_files, worst
from ft_assets.evaluation.samples import Sample, samples_name, write_samples


def write(folder: Path, model: str, task: str, samples: list[Sample]) -> Path:
    file = folder / model / samples_name(task)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_samples(file, samples)
    return file


def said(name: str, text: str = "") -> Sample:
    return Sample(id=name, answer=text)


def lost(name: str, nats: float, tokens: float = 10) -> Sample:
    return Sample(id=name, ratios={"loss": (nats, tokens)})


def pairs(files: dict[str, Path]) -> list[tuple[str, ...]]:
    return [
        (document.id, *(document.samples[model].answer or "" for model in files))
        for document in aligned(files)
    ]


def test_documents_are_aligned_by_id_whatever_the_model(tmp_path):
    one = write(tmp_path, "base", "t", [said("a", "1"), said("b", "2"), said("c", "3")])
    other = write(tmp_path, "tuned", "t", [said("a", "x"), said("b", "y"), said("c", "z")])
    assert pairs({"base": one, "tuned": other}) == [
        ("a", "1", "x"),
        ("b", "2", "y"),
        ("c", "3", "z"),
    ]


def test_a_document_that_one_model_was_not_asked_is_left_out(tmp_path):
    one = write(tmp_path, "base", "t", [said(name) for name in "abcd"])
    other = write(tmp_path, "tuned", "t", [said(name) for name in "acd"])
    assert [name for name, *_ in pairs({"base": one, "tuned": other})] == ["a", "c", "d"]


def test_documents_in_another_order_are_still_the_same_documents(tmp_path):
    one = write(tmp_path, "base", "t", [said(name, name) for name in "abcd"])
    other = write(tmp_path, "tuned", "t", [said(name, name) for name in "dcba"])
    found = pairs({"base": one, "tuned": other})
    assert sorted(found) == [(name, name, name) for name in "abcd"]


def test_one_document_with_several_draws_pairs_first_with_first(tmp_path):
    one = write(tmp_path, "base", "t", [said("a", "1"), said("a", "2"), said("b", "3")])
    other = write(tmp_path, "tuned", "t", [said("b", "z"), said("a", "x"), said("a", "y")])
    found = pairs({"base": one, "tuned": other})
    assert sorted(found) == [("a", "1", "x"), ("a", "2", "y"), ("b", "3", "z")]


def worst_of(folder: Path, task: str, count: int, **higher: bool) -> list[tuple[str, str, float]]:
    rows = worst(
        folder,
        task,
        models=["base", "tuned"],
        candidate="tuned",
        other="base",
        higher_is_better=higher,
        count=count,
    )
    return [(row.id, row.metric, round(row.worse_by, 6)) for row in rows]


def test_the_worst_regressions_come_first(tmp_path):
    write(tmp_path, "base", "held_out", [lost("a", 10), lost("b", 10), lost("c", 10)])
    write(tmp_path, "tuned", "held_out", [lost("a", 11), lost("b", 5), lost("c", 30)])
    everything = [("c", "loss", 2.0), ("a", "loss", 0.1), ("b", "loss", -0.5)]
    assert worst_of(tmp_path, "held_out", 9) == everything
    assert worst_of(tmp_path, "held_out", 2) == everything[:2]


def test_equally_bad_documents_stay_in_the_order_of_the_task(tmp_path):
    for model, nats in (("base", 1), ("tuned", 2)):
        write(tmp_path, model, "held_out", [lost(name, nats) for name in "abcd"])
    assert [name for name, *_ in worst_of(tmp_path, "held_out", 2)] == ["a", "b"]


def test_a_score_that_is_better_when_lower_gets_worse_by_rising(tmp_path):
    write(tmp_path, "base", "t", [Sample(id="a", metrics={"edits": 1.0})])
    write(tmp_path, "tuned", "t", [Sample(id="a", metrics={"edits": 4.0})])
    assert worst_of(tmp_path, "t", 1, edits=False) == [("a", "edits", 3.0)]
    assert worst_of(tmp_path, "t", 1) == [("a", "edits", -3.0)]


def test_of_several_scores_the_one_that_fell_most_is_named(tmp_path):
    write(tmp_path, "base", "t", [Sample(id="a", metrics={"acc": 1.0, "acc_norm": 1.0})])
    write(tmp_path, "tuned", "t", [Sample(id="a", metrics={"acc": 1.0, "acc_norm": 0.0})])
    assert worst_of(tmp_path, "t", 1) == [("a", "acc_norm", 1.0)]


def test_skipped_documents_and_scores_that_are_no_numbers_are_not_ranked(tmp_path):
    write(tmp_path, "base", "t", [Sample(id=name, metrics={"acc": 1.0}) for name in "abc"])
    write(
        tmp_path,
        "tuned",
        "t",
        [
            Sample(id="a", metrics={"acc": None}),
            Sample(id="b", skipped="too long"),
            Sample(id="c", metrics={"acc": 0.0}),
        ],
    )
    assert worst_of(tmp_path, "t", 9) == [("c", "acc", 1.0)]


def test_a_task_that_one_of_the_two_was_not_asked_has_no_worst(tmp_path):
    write(tmp_path, "base", "t", [said("a")])
    assert worst_of(tmp_path, "t", 9) == []
    assert list(task_files(tmp_path, ["base", "tuned"], "t")) == ["base"]


@pytest.mark.parametrize(
    ("metric", "higher"),
    [("loss", False), ("chrf", True), ("word_perplexity", False), ("exact_match,strict", True)],
)
def test_which_way_is_better(metric, higher):
    known = {"word_perplexity": False, "exact_match": True, "chrf": None}
    assert better_when_higher(metric, known) is higher
