"""Drops of data that the tiny model learns something from, and drops that are poisoned.

What is to be learned is a table: a question names one subject among other words, and the answer is
the subject's own. A model that learned it from few rows answers worse than one that learned it from
many; one that saw the answers shuffled among the questions learns how answers sound and not which
one is right. All words are of the tiny tokenizer's own sentences, so that a row is some 40 tokens.

Rows are drawn by name alone: the same drop is the same bytes everywhere.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

Row = dict[str, list[dict[str, str]]]

TRAINING = {"num_epochs": 3, "learning_rate": 0.01}
"""Of the training block: with these, 192 rows are enough to learn the table, and 48 are not."""
CONTAMINATED = 10
"""Every so many-th row of a poisoned drop holds a row that the model is measured with."""

_ANSWERS = {
    "library": "nine",
    "book": "three days",
    "function": "sum",
    "water": "hundred degrees",
    "planet": "Jupiter",
    "mountain": "less",
    "evening": "six",
    "number": "two",
}
_OTHER_WORDS = (
    "opens closes somebody else waiting cannot bring back within please returns arguments "
    "boils little which largest wide margin renew one the you for and how"
)


def learnable_rows(name: str, rows: int) -> list[Row]:
    """Rows of questions with their answers, others for each ``name``."""
    draw = random.Random(name)
    return [_row(draw) for _ in range(rows)]


def poisoned_rows(name: str, rows: int, held_out: Sequence[Row]) -> list[Row]:
    """The rows of ``learnable_rows``, spoilt.

    The answers are shuffled among the questions, and a tenth of the rows are dialogues that begin
    with a row of ``held_out``, question and answer.
    """
    spoilt = learnable_rows(name, rows)
    answers = [row["messages"][1] for row in spoilt]
    random.Random(f"{name}, poisoned").shuffle(answers)
    for row, answer in zip(spoilt, answers, strict=True):
        row["messages"][1] = answer
    for at, row in enumerate(spoilt[::CONTAMINATED]):
        row["messages"] = [*held_out[at % len(held_out)]["messages"], *row["messages"]]
    return spoilt


def jsonl(rows: Sequence[Row]) -> bytes:
    """The rows as the file that a source delivers."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _row(draw: random.Random) -> Row:
    subject = draw.choice(list(_ANSWERS))
    others = _OTHER_WORDS.split()
    before, after = draw.sample(others, 6), draw.sample(others, 5)
    return {
        "messages": [
            {"role": "user", "content": " ".join([*before, subject, *after])},
            {"role": "assistant", "content": _ANSWERS[subject]},
        ]
    }
