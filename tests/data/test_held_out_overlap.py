"""Training rows that hold a held-out row as a whole, and what only looks like one."""

import json
from pathlib import Path

import pytest

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.contamination import decontaminate
from ft_assets.data.held_out_overlap import write_held_out_documents
from ft_assets.data.row_files import row_line
from ft_assets.data.shapes import Chat, Message, Segment, Segments, Text, Tokens
from ft_assets.data.task_overlap import TaskDocument
from resources.errors import UserError

TALK = (
    "My parcel from last Tuesday has not come yet, where is it?",
    "It waits at the depot in Leeds and will be with you on Friday morning.",
    "Can I have it sent to my neighbour at number nine instead?",
    "Yes: I have changed the address, and she will get a message when it is near.",
    "And what do I pay for that?",
    "Nothing at all, a change of address within one street is free with us.",
    "Thanks!",
    "You're welcome!",
)
OTHER = ("How do bees find their way home in the evening?", "By the sun, and by what they know.")


def chat(*turns: str, system: str | None = None) -> Chat:
    roles = ("user", "assistant") * len(turns)
    said = [Message(role=role, content=text) for role, text in zip(roles, turns, strict=False)]
    return Chat([Message(role="system", content=system), *said] if system else said)


def write(path: Path, rows) -> Path:
    path.write_bytes(b"".join(row_line(row_id(r), canonical_bytes(r)) for r in rows))
    return path


@pytest.fixture
def compare(tmp_path):
    """The report on some training and held-out rows; any further arguments are decontaminate's."""

    def run(train, held_out, *documents: TaskDocument, most_rows=50_000, **arguments):
        asked = tmp_path / "asked.jsonl"
        asked.write_bytes(b"".join(document.line() for document in documents))
        whole = tmp_path / "whole.jsonl"
        write_held_out_documents(
            write(tmp_path / "held_out.jsonl", held_out),
            whole,
            rows=len(held_out),
            most_rows=most_rows,
        )
        return decontaminate(
            write(tmp_path / "train.jsonl", train),
            [asked] if documents else [],
            tmp_path / "out" / "train.jsonl",
            held_out=whole,
            **arguments,
        )

    return run


@pytest.mark.parametrize("turns", [2, 4, 6])
def test_a_dialogue_that_goes_on_after_a_held_out_one_holds_it(compare, turns):
    report = compare(
        [chat(*TALK), chat(*OTHER)], [chat(*OTHER[:1], "Nobody."), chat(*TALK[:turns])]
    )
    (pair,) = report.examples
    assert (pair.row, pair.task, pair.doc_id) == (1, "held_out", 1)
    assert pair.kind == "question_and_answer"
    assert report.kept_rows == 1
    assert pair.question_excerpt.startswith("My parcel from last Tuesday")


@pytest.mark.parametrize(
    "row",
    [
        Text("Before. " + "\n".join(TALK[:4]) + " And after it, more."),
        Segments([Segment(label=True, text=" ".join(TALK[:4])), Segment(label=True, text="Bye.")]),
        chat("What did they say?", "\n".join(TALK[:4]).upper()),
        chat(*OTHER, *TALK[:4], system="Be kind."),
    ],
    ids=["text", "segments", "in an answer", "in the middle"],
)
def test_wherever_and_in_whatever_shape(compare, row):
    assert compare([row, chat(*OTHER)], [chat(*TALK[:4])]).contaminated_rows == 1


def test_another_answer_to_the_same_question_is_no_leak(compare):
    """Nor is the same long passage with another question: the answer must be there too."""
    passage = " ".join(f"fact{n}" for n in range(400))
    held_out = [chat(f"{passage} Who was it?", "It was the baker of the village, they say.")]
    train = [
        chat(f"{passage} When was it?", "In spring.", "Why?", "For the bread that nobody wanted."),
        chat("Who was it?", "It was the baker of the village, they say."),
    ]
    assert compare(train, held_out).contaminated_rows == 0


def test_pieces_that_are_far_apart_are_no_leak(compare):
    """All its words are there, but nowhere the conversation."""
    between = " ".join(f"word{n}" for n in range(300))
    row = chat(TALK[0], f"No. {between}", "And my hat?", f"{between} {TALK[1]}")
    assert compare([row, chat(*OTHER)], [chat(*TALK[:2])]).contaminated_rows == 0


def test_a_question_alone_is_no_leak(compare):
    assert compare([chat(TALK[0], "I do not know.")], [chat(*TALK[:2])]).contaminated_rows == 0


@pytest.mark.parametrize(
    "held_out", [chat("Thanks!", "You're welcome!"), chat("continue", "Sure, here it is.")]
)
def test_what_everybody_says_does_not_count(compare, held_out):
    turns = [message.content for message in held_out.messages]
    report = compare([chat(*TALK[:6], *turns)], [held_out])
    assert report.contaminated_rows == 0
    assert (report.documents, report.documents_unsearchable) == (1, 1)


def test_prefixes_of_many_dialogues_are_all_found(compare):
    """One row per answer, and a row in four held out: what is left holds no held-out row."""
    dialogues = [
        [f"{text} ({' '.join(f'd{n}w{turn}x{k}' for k in range(6))})" for turn in range(8)]
        for n in range(60)
        for text in ["In which way does this one go on"]
    ]
    rows = [tuple(talk[:turns]) for talk in dialogues for turns in (2, 4, 6, 8)]
    held_out = rows[1::4] + rows[2::12]
    train = [row for row in rows if row not in held_out]
    leaking = [row for row in train if any(row[: len(short)] == short for short in held_out)]
    report = compare([chat(*row) for row in train], [chat(*row) for row in held_out])
    assert len(leaking) > 50
    assert report.contaminated_rows == len(leaking)
    assert report.kept_rows == len(train) - len(leaking)


def test_rows_of_tokens_are_compared_by_their_numbers(compare):
    tokens = [Tokens(list(range(n)), list(range(n))) for n in (40, 60)]
    other = Tokens(list(range(500, 560)), list(range(500, 560)))
    report = compare([tokens[1], other], [tokens[0]])
    assert (report.contaminated_rows, report.rows_unchecked) == (1, 0)


def test_numbers_of_tokens_are_not_read_as_questions_of_tasks(compare):
    asked = TaskDocument(task="sums", doc_id=0, question="12 * 7 =", answers=["84"])
    report = compare([Tokens([12, 7, 84], [12, 7, 84]), chat(*OTHER)], [chat(*TALK)], asked)
    assert (report.contaminated_rows, report.rows_unchecked) == (0, 1)


def test_tasks_and_held_out_rows_are_counted_apart(compare):
    question = "Which of the seven bridges did the mayor close for the winter fair, and why?"
    asked = TaskDocument(task="quiz", doc_id=5, question=question, answers=["The old one"])
    train = [chat(question, "?"), chat(*TALK), chat(*OTHER), chat(*TALK[:6], question, "No.")]
    report = compare(train, [chat(*TALK[:2])], asked)
    assert {task: tuple(c.model_dump().values()) for task, c in report.tasks.items()} == {
        "quiz": (1, 1, 2),
        "held_out": (1, 1, 2),
    }
    assert [(e.row, e.task, e.more_documents) for e in report.examples] == [
        (1, "quiz", 0),
        (2, "held_out", 0),
        (4, "quiz", 1),
    ]


def test_to_fail_names_the_held_out_row_and_a_remedy(compare):
    with pytest.raises(UserError) as refusal:
        compare([chat(*TALK), chat(*OTHER)], [chat(*TALK[:2])], on_contamination="fail")
    assert "holds 100% of held-out row 1" in str(refusal.value)
    assert "set dataset.group_by" in str(refusal.value)


def test_of_very_many_held_out_rows_a_part_is_compared_and_that_is_said(tmp_path):
    rows = [chat(*(f"{text} {n}" for text in TALK)) for n in range(400)]
    held_out, path = write(tmp_path / "held_out.jsonl", rows), tmp_path / "documents.jsonl"
    size = held_out.stat().st_size
    for bound in ({"most_rows": 100}, {"most_bytes": size // 4}):
        documents = write_held_out_documents(held_out, path, rows=400, **bound)
        assert documents.rows == 400
        assert 60 <= documents.compared <= 140
        assert f"of 400 held-out rows {documents.compared}" in (documents.warning() or "")
        numbers = [json.loads(line)["doc_id"] for line in path.open()]
        assert len(numbers) == documents.compared
        for line in path.open():
            document = json.loads(line)
            assert document["question"].endswith(f"welcome! {document['doc_id']}")
    assert write_held_out_documents(held_out, path, rows=400).warning() is None


def test_no_row_of_the_examples_is_taken_for_another(compare):
    """They ask alike and answer in one style: no false alarm among real rows."""
    examples = Path(__file__).parents[2] / "examples" / "python-docs"
    for drop in ("drop-1.jsonl", "drop-2.jsonl"):
        rows = [
            chat(*(turn["content"] for turn in json.loads(line)["messages"]))
            for line in (examples / drop).open()
        ]
        report = compare(rows[60:], rows[:60])
        assert (report.contaminated_rows, report.documents_unsearchable) == (0, 0)
