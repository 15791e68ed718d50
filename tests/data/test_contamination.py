"""Rows that repeat documents of an evaluation: what counts, and what happens with them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.contamination import decontaminate
from ft_assets.data.row_files import row_line
from ft_assets.data.shapes import Chat, Message, Segment, Segments, Text, Tokens
from ft_assets.data.task_overlap import TaskDocument
from resources.errors import UserError

LARGE = (
    "A farmer moves 240 sheep from the northern pasture to a barn across the river and loses one "
    "in twelve of them on the bridge; how many sheep arrive at the barn before nightfall?"
)
SHORT = "Which metal melts at room temperature?"


def chat(*turns: str, system: str | None = None) -> Chat:
    roles = ("user", "assistant") * len(turns)
    said = [Message(role=role, content=text) for role, text in zip(roles, turns, strict=False)]
    return Chat([Message(role="system", content=system), *said] if system else said)


def document(question: str, *answers: str, number: int = 0, **more: Any) -> TaskDocument:
    return TaskDocument(
        task="quiz", doc_id=number, question=question, answers=list(answers), **more
    )


@pytest.fixture
def check(tmp_path: Path):
    """Compare rows with documents; the report and the entries of ``contaminated.jsonl``."""

    def run(rows, documents, **arguments):
        train, asked = tmp_path / "train.jsonl", tmp_path / "documents.jsonl"
        train.write_bytes(b"".join(row_line(row_id(r), canonical_bytes(r)) for r in rows))
        asked.write_bytes(b"".join(d.line() for d in documents))
        report = decontaminate(train, [asked], tmp_path / "out" / "train.jsonl", **arguments)
        listed = (tmp_path / "out" / "contaminated.jsonl").read_text().splitlines()
        return report, [json.loads(entry) for entry in listed]

    return run


def found(check, row, *documents: TaskDocument) -> list[tuple[int, str]]:
    _, entries = check([row], documents, on_contamination="report")
    return [(entry["doc_id"], entry["kind"]) for entry in entries]


# What counts


def test_a_question_deep_inside_a_long_chat_is_found(check):
    small_talk = ("How are you today?", "Very well, and yourself, my friend?") * 30
    row = chat(*small_talk, f"One more: {LARGE} Thanks!", "I do not know.", *small_talk)
    assert found(check, row, document(LARGE, "220")) == [(0, "question_only")]


@pytest.mark.parametrize(
    "row",
    [
        Text(f"Some text before. {LARGE} And after it."),
        Segments([Segment(label=False, text=LARGE), Segment(label=True, text="none")]),
        chat("Hello!", f"Let me ask you instead: {LARGE}"),
        chat("Hello!", "Hello.", system=f"Here is an example: {LARGE}"),
        chat(LARGE.upper().replace(" ", "\n").replace(";", " -")),
    ],
    ids=["text", "segments", "assistant", "system", "case and punctuation"],
)
def test_wherever_and_however_it_is_written(check, row):
    assert found(check, row, document(LARGE, "220")) == [(0, "question_only")]


def test_a_word_here_and_there_may_differ(check):
    edited = LARGE.replace("northern", "southern").replace("river", "valley")
    assert found(check, chat(edited), document(LARGE, "220"))


def test_the_same_words_in_another_order_are_another_question(check):
    shuffled = " ".join(sorted(LARGE.split(), key=lambda w: hashlib.sha256(w.encode()).digest()))
    assert not found(check, chat(shuffled), document(LARGE, "220"))


def test_parts_that_are_far_apart_are_not_the_question(check):
    words = LARGE.split()
    pieces = [" ".join(words[n : n + 7]) for n in range(0, len(words), 7)]
    other = " ".join(f"word{n}" for n in range(60))
    assert not found(check, Text(f" {other} ".join(pieces)), document(LARGE, "220"))


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (chat(LARGE, "There are 220 of them."), "question_and_answer"),
        (Text(f"{LARGE} 220"), "question_and_answer"),
        (chat("Say 220 times hello", "No.", LARGE, "There are 240."), "question_only"),
        (chat("What is 440 / 2?", "It is 220.", LARGE), "question_and_answer"),
    ],
    ids=[
        "as the assistant",
        "after the question",
        "before it, by the user",
        "as the assistant first",
    ],
)
def test_whether_the_answer_is_there_too_is_told(check, row, kind):
    assert found(check, row, document(LARGE, "220")) == [(0, kind)]


def test_a_short_question_must_be_there_as_a_whole(check):
    asked = document(SHORT, "Mercury")
    assert found(check, chat(f"Tell me: {SHORT.lower()}"), asked)
    assert not found(check, chat("Which metal melts at 660 degrees?"), asked)
    assert not found(check, chat("Gallium nearly melts at room temperature."), asked)


def test_a_tiny_question_needs_its_answer_soon_after_it(check):
    asked = document("12 * 7 =", "84")
    assert found(check, chat("What is 12 * 7?", "It is 84."), asked) == [(0, "question_and_answer")]
    assert not found(check, chat("What is 12 * 7?", "You tell me."), asked)
    assert not found(check, chat("What is 84 - 72?", "It is 12: 7 is less."), asked)
    late = " ".join(f"w{n}" for n in range(40))
    assert not found(check, Text(f"12 * 7 {late} 84"), asked)


def test_what_many_documents_share_counts_for_none(check):
    instruction = "Read the sentence below with great care and say whether it is well formed."
    asked = [
        document(f"{instruction}\nSentence: {name} often sings in the kitchen\nAnswer:", number=n)
        for n, name in enumerate(["Ada Lovelace", "Alan Turing", "Grace Hopper", "Kurt Gödel"])
    ]
    assert not found(check, chat(f"{instruction}\nSentence: The moon is made of rock"), *asked)
    row = chat(f"{instruction}\nSentence: Grace Hopper often sings in the kitchen")
    assert found(check, row, *asked) == [(2, "question_only")]


def test_the_question_is_found_without_its_template(check):
    asked = [
        document(f"Question: What is the capital of {place}?\nAnswer:", city, number=n)
        for n, (place, city) in enumerate(
            [("France", "Paris"), ("Peru", "Lima"), ("Japan", "Tokyo"), ("Kenya", "Nairobi")]
        )
    ]
    assert found(check, chat("What is the capital of Peru?", "?"), *asked) == [(1, "question_only")]
    assert not found(check, chat("What is the capital of Chad?", "Paris"), *asked)
    assert not found(check, chat("Where is Lima?", "Lima is the capital of Peru."), *asked)


def test_where_all_documents_ask_the_same_the_answer_tells_them_apart(check):
    endings = [
        "the baker put the warm loaves on the shelf",
        "a storm had taken the roof off the old mill",
        "nobody had thought of bringing the map",
    ]
    asked = [document("Which sentence is best?", e, number=n) for n, e in enumerate(endings)]
    row = chat("Which sentence is best?", endings[1])
    assert found(check, row, *asked) == [(1, "question_and_answer")]
    assert not found(check, chat("Which sentence is best?", "None of them."), *asked)


def test_choices_that_the_question_lists_need_not_be_there(check):
    choices = ["a very hot gas between the stars", "an old name for salt", "a kind of bread", "ice"]
    options = "\n".join(f"{label}. {text}" for label, text in zip("ABCD", choices, strict=True))
    asked = document(
        f"What do astronomers of today mean by plasma in space?\n{options}\nAnswer:",
        choices[0],
        choices=choices,
    )
    row = chat("What do astronomers of today mean by plasma in space?", "A gas.")
    assert found(check, row, asked) == [(0, "question_only")]


def test_scripts_without_spaces_are_compared_by_character(check):
    asked = document("中国的首都是哪个城市?", "北京")
    assert found(check, chat("请问,中国的首都是哪个城市?", "北京"), asked) == [
        (0, "question_and_answer")
    ]
    assert not found(check, chat("日本最高的山是什么山?", "富士山"), asked)


WORDS = st.lists(st.sampled_from("abcdefghijklmnop"), min_size=5, max_size=40).map(" ".join)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(WORDS, min_size=1, max_size=6), before=WORDS, after=WORDS)
def test_a_question_that_stands_in_a_row_is_always_found(check, texts, before, after):
    """Whatever it shares with others, as long as one word of it is its own."""
    questions = [f"{text} word{n}" for n, text in enumerate(texts)]
    asked = [document(question, number=n) for n, question in enumerate(questions)]
    rows = [Text(f"{before} {question} {after}") for question in questions]
    report, _ = check(rows, asked, on_contamination="report")
    assert report.contaminated_rows == len(rows)
    assert report.documents_unsearchable == 0
    assert report.tasks["quiz"].documents_found == len(asked)


# What happens then


CLEAN = chat("How do bees find their way home in the evening?", "By the sun.")
BAD = chat(LARGE, "It is 220, write to me@example.org")


def test_contaminated_rows_are_dropped_and_listed_side_by_side(check, tmp_path):
    report, entries = check([CLEAN, BAD, CLEAN], [document(LARGE, "220", number=7)])
    line = row_line(row_id(CLEAN), canonical_bytes(CLEAN))
    kept = (tmp_path / "out" / "train.jsonl").read_bytes()
    assert kept == line + line
    assert (report.rows, report.kept_rows, report.contaminated_rows) == (3, 2, 1)
    (entry,) = entries
    assert (entry["row"], entry["train_id"]) == (2, row_id(BAD))
    assert (entry["task"], entry["doc_id"], entry["containment"]) == ("quiz", 7, 1.0)
    assert entry["row_excerpt"].startswith("A farmer moves 240 sheep")
    assert entry["question_excerpt"] == entry["row_excerpt"][:199] + "…" or len(LARGE) < 200
    assert "example.org" not in entry["row_excerpt"]
    assert max(len(entry["row_excerpt"]), len(entry["question_excerpt"])) <= 200
    assert report.examples[0].model_dump() == entry


def test_to_report_keeps_all_rows(check):
    report, entries = check([CLEAN, BAD], [document(LARGE, "220")], on_contamination="report")
    assert (report.kept_rows, report.contaminated_rows, len(entries)) == (2, 1, 1)


def test_to_fail_names_the_first_row_and_leaves_the_list_alone(check, tmp_path):
    with pytest.raises(UserError) as refusal:
        check([CLEAN, BAD, BAD], [document(LARGE, "220", number=7)], on_contamination="fail")
    message = str(refusal.value)
    assert "2 training rows" in message
    assert f"first row 2 (id {row_id(BAD)[:12]}) holds 100% of document 7 of task 'quiz'" in message
    assert "set on_contamination to drop" in message
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contaminated.jsonl"]
    assert len((tmp_path / "out" / "contaminated.jsonl").read_text().splitlines()) == 2


def test_nothing_fails_where_nothing_is_contaminated(check):
    report, entries = check([CLEAN], [document(LARGE, "220")], on_contamination="fail")
    assert (report.kept_rows, entries) == (1, [])


def test_no_row_left_is_an_error(check):
    with pytest.raises(UserError, match="every training row repeats a document"):
        check([BAD, BAD], [document(LARGE, "220")])


def test_rows_of_tokens_are_checked_where_they_can_be_decoded(check):
    tokens = Tokens([5, 6, 7], [-100, 6, 7])
    report, _ = check([tokens, CLEAN], [document(LARGE, "220")])
    assert (report.rows_unchecked, report.contaminated_rows, report.kept_rows) == (1, 0, 2)
    report, _ = check(
        [tokens, CLEAN], [document(LARGE, "220")], decode=lambda ids: f"{LARGE} {ids}"
    )
    assert (report.rows_unchecked, report.contaminated_rows, report.kept_rows) == (0, 1, 1)


def test_each_task_has_its_counts(check):
    other = TaskDocument(task="metals", doc_id=0, question=SHORT, answers=["Mercury"])
    unasked = document("Why do cats purr when somebody strokes their fur at night?", number=1)
    rows = [BAD, CLEAN, chat(SHORT, "Gallium?"), chat(f"{SHORT} {LARGE}", "Mercury.")]
    report, entries = check(rows, [document(LARGE, "220"), unasked, other])
    assert {task: tuple(c.model_dump().values()) for task, c in report.tasks.items()} == {
        "quiz": (2, 1, 2),
        "metals": (1, 1, 2),
    }
    assert (report.question_and_answer, report.question_only) == (2, 1)
    assert [entry["more_documents"] for entry in entries] == [0, 0, 1]


def test_documents_that_cannot_be_told_from_other_text_are_counted(check):
    report, _ = check([CLEAN], [document("Why?"), document("", number=1), document("?", "!")])
    assert (report.documents, report.documents_unsearchable) == (3, 3)


def test_more_rows_than_are_searched_at_a_time_keep_their_numbers(check):
    rows = [chat(f"Number {n} of a row of numbers", "Yes.") for n in range(4999)]
    _, entries = check([*rows, BAD], [document(LARGE, "220")])
    assert [entry["row"] for entry in entries] == [5000]


@pytest.mark.parametrize("threshold", [0, -1, 1.01])
def test_a_threshold_out_of_range_is_refused(check, threshold):
    with pytest.raises(UserError, match="above 0 and at most 1"):
        check([CLEAN], [document(LARGE)], threshold=threshold)


def test_a_file_that_holds_no_documents_is_named(tmp_path):
    train = tmp_path / "train.jsonl"
    train.write_bytes(row_line(row_id(CLEAN), canonical_bytes(CLEAN)))
    with pytest.raises(UserError, match=r"train\.jsonl, byte 0: not a task document"):
        decontaminate(train, [train], tmp_path / "out.jsonl")
