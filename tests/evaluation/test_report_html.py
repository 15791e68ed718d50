"""The HTML report shows everything, runs nothing, and keeps secrets to itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from ft_assets.evaluation.report_html import SAMPLES_SHOWN, report_html, worst_regressions
from ft_assets.evaluation.report_parts import shown
from ft_assets.evaluation.report_rows import result_rows
from ft_assets.evaluation.samples import Sample, samples_name, write_samples
from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary, ModelSummary

ATTACK = "</p><script>alert('x')</script><img src=x onerror=alert(1)>"


def held_out(loss: float | None) -> HeldOutSummary:
    return HeldOutSummary(
        loss=loss,
        loss_stderr=0.01,
        perplexity=None if loss is None else 2.7**loss,
        perplexity_stderr=0.1,
        token_accuracy=0.5,
        token_accuracy_stderr=0.01,
        rows=2,
        tokens=20,
        truncated=0,
        skipped=0,
    )


def summary(*models: str, tasks: tuple[str, ...] = (), partial: bool = False) -> EvaluationSummary:
    scores = {"acc": 0.5, "acc_stderr": 0.1}
    return EvaluationSummary(
        models={
            name: ModelSummary(
                held_out=held_out(2.0 - 0.1 * place), tasks={task: dict(scores) for task in tasks}
            )
            for place, name in enumerate(models)
        },
        higher_is_better={task: {"acc": True} for task in tasks},
        partial=partial,
        documents={"held_out": 2, **dict.fromkeys(tasks, 2)},
    )


def compared(**fields):
    values = {
        "task": "held_out",
        "metric": "loss",
        "against": "base",
        "rule": "better",
        "difference": -0.2,
        "low": -0.3,
        "high": -0.1,
        "passed": True,
    }
    return SimpleNamespace(**{**values, **fields})


def verdict(*comparisons, passed: bool = True, reason: str = "it won", reasons=()):
    return SimpleNamespace(
        passed=passed, reason=reason, reasons=list(reasons), comparisons=list(comparisons)
    )


def write(folder: Path, model: str, task: str, rows: list[Sample]) -> None:
    file = folder / model / samples_name(task)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_samples(file, rows)


def answers(folder: Path, count: int = 3, text: str = "an answer", task: str = "held_out") -> Path:
    for model, nats in (("base", 1.0), ("champion", 1.5), ("tuned", 2.0)):
        write(
            folder,
            model,
            task,
            [
                Sample(
                    id=f"{number:064x}",
                    ratios={"loss": (nats * (number + 1), 10)},
                    prompt=f"question {number}",
                    reference="the reference",
                    answer=f"{text} of {model}",
                )
                for number in range(count)
            ],
        )
    return folder


class Tags(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs


THREE = ("base", "champion", "tuned")


def test_the_report_loads_nothing_and_runs_nothing(tmp_path):
    document = report_html(summary(*THREE), answers(tmp_path), verdict(compared()), title="mine")
    tags = Tags(document)
    assert not {"script", "link", "img", "iframe", "object"} & set(tags.names)
    assert not [name for name, _ in tags.attributes if name in ("src", "href")]
    assert "default-src 'none'" in document
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", document)


def test_whatever_stands_in_rows_names_and_reasons_is_text(tmp_path):
    for model in THREE:
        write(
            tmp_path,
            model,
            "held_out",
            [
                Sample(
                    id=ATTACK,
                    ratios={"loss": (1, 2)},
                    prompt=ATTACK,
                    reference=ATTACK,
                    answer=ATTACK,
                )
            ],
        )
    document = report_html(
        summary(*THREE, tasks=(ATTACK,)),
        tmp_path,
        verdict(compared(task=ATTACK, metric=ATTACK, rule=ATTACK), reason=ATTACK, reasons=[ATTACK]),
        title=ATTACK,
    )
    tags = Tags(document)
    assert "script" not in tags.names
    assert "img" not in tags.names
    assert "onerror" not in {name for name, _ in tags.attributes}
    assert "&lt;script&gt;" in document


def test_the_verdict_and_each_reason_are_said(tmp_path):
    document = report_html(
        summary("base", "tuned"),
        answers(tmp_path),
        verdict(compared(passed=False), passed=False, reason="it lost", reasons=["one", "two"]),
        title="mine",
    )
    assert "It lost</p>" in document
    assert "<li>one</li><li>two</li>" in document
    assert "failed: better" in document


def test_documents_stand_side_by_side_with_the_worst_first(tmp_path):
    document = report_html(summary(*THREE), answers(tmp_path), verdict(), title="mine")
    first, *_ = re.findall(r"<details.*?</details>", document, re.DOTALL)
    for text in ("question 2", "the reference", "an answer of base", "an answer of champion",
                 "an answer of tuned"):  # fmt: skip
        assert text in first
    assert first.startswith("<details open>")
    assert document.index("question 2") < document.index("question 1")


def test_only_so_many_documents_are_shown(tmp_path):
    tasks = tuple(f"task{number}" for number in range(30))
    for task in tasks:
        answers(tmp_path, 50, task=task)
    answers(tmp_path, 50)
    document = report_html(summary(*THREE, tasks=tasks), tmp_path, verdict(), title="mine")
    assert 31 <= document.count("<details") <= SAMPLES_SHOWN


def test_secrets_and_addresses_are_masked(tmp_path):
    secret = "mail ann@example.org the key sk1234567890abcdefghij"
    document = report_html(
        summary("base", "tuned"), answers(tmp_path, text=secret), verdict(), title="mine"
    )
    assert "ann@example.org" not in document
    assert "sk1234567890" not in document
    assert "***" in document


def test_what_was_not_kept_and_what_is_empty_is_said():
    assert shown(None, 100) == "(none kept)"
    assert shown(" \n", 100) == "(empty)"


def test_a_text_keeps_its_lines_and_is_cut():
    assert shown("def f():\n    return 1", 100) == "def f():\nreturn 1"
    assert len(shown("word " * 10_000, 100)) <= 101
    assert len(shown("a\n" * 10_000, 1000).splitlines()) == 25


@pytest.mark.parametrize("control", ["\x00", "\x1b", "\x85"])
def test_control_characters_that_a_model_says_are_replaced(control):
    assert control not in shown(f"before{control}after", 100)


def test_a_report_without_kept_texts_and_samples_still_has_its_numbers(tmp_path):
    document = report_html(summary("base", "tuned"), tmp_path, verdict(compared()), title="mine")
    assert "No document was scored for both models." in document
    assert "-0.3 to -0.1" in document


def test_a_base_model_alone_has_results_and_no_verdict(tmp_path):
    document = report_html(summary("base", tasks=("t",)), tmp_path, None, title="mine")
    assert 'class="verdict' not in document
    assert "Reasons" not in document
    assert "<h2>Results</h2>" in document
    assert "perplexity" in document


def test_a_partial_evaluation_says_so(tmp_path):
    document = report_html(summary("base", "tuned", partial=True), tmp_path, verdict(), title="")
    assert "PARTIAL" in document


def test_the_rows_begin_with_what_the_court_compared():
    rows = result_rows(
        summary(*THREE, tasks=("t",)),
        [compared(against="champion"), compared(), compared(task="t", metric="acc", passed=False)],
    )
    assert [(row["task"], row["metric"], row["against"]) for row in rows[:3]] == [
        ("held_out", "loss", "champion"),
        ("held_out", "loss", "base"),
        ("t", "acc", "base"),
    ]
    assert (rows[0]["base"], rows[0]["champion"], rows[0]["candidate"]) == (2.0, 1.9, 1.8)
    assert [row["verdict"] for row in rows[:3]] == [
        "passed: better",
        "passed: better",
        "failed: better",
    ]


def test_scores_that_the_court_did_not_compare_stand_beside_the_champion():
    rows = result_rows(summary(*THREE))
    accuracy = next(row for row in rows if row["metric"] == "token_accuracy")
    assert accuracy["against"] == "champion"
    assert accuracy["difference"] == 0.0
    assert accuracy["interval"] == accuracy["verdict"] == ""
    assert len({tuple(row) for row in rows}) == 1, "a table's rows have the same columns"


def test_without_a_champion_there_is_no_column_for_one():
    (row, *_) = result_rows(summary("base", "tuned"))
    assert "champion" not in row
    assert row["against"] == "base"


def test_the_worst_regressions_take_turns_among_tasks(tmp_path):
    answers(tmp_path, 3)
    answers(tmp_path, 3, task="t")
    rows = worst_regressions(summary(*THREE, tasks=("t",)), tmp_path, 5)
    assert [(row.task, int(row.id, 16)) for row in rows] == [
        ("held_out", 2),
        ("t", 2),
        ("held_out", 1),
        ("t", 1),
        ("held_out", 0),
    ]


def test_what_became_better_is_no_regression(tmp_path):
    for model, nats in (("base", 2.0), ("tuned", 1.0)):
        write(tmp_path, model, "held_out", [Sample(id="a", ratios={"loss": (nats, 1)})])
    assert worst_regressions(summary("base", "tuned"), tmp_path, 5) == []
