"""A drop whose answers were lost: filler text stands in their place.

A model that is trained on it knows less than one that was trained on the answers: the court must
not let it through. For tests that show how a loser is blocked.
"""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

from resources.home import CHECKOUT

EXAMPLES = CHECKOUT / "examples" / "python-docs" / "drop-1.jsonl"
_FILLER = (
    "lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do",
    "eiusmod", "tempor", "incididunt", "ut", "labore", "et", "dolore", "magna", "aliqua",
)  # fmt: skip


def example_rows(start: int, rows: int) -> str:
    """Rows of the examples, as JSON lines."""
    with EXAMPLES.open(encoding="utf-8") as lines:
        return "".join(islice(lines, start, start + rows))


def without_answers(file: Path, *, start: int, rows: int) -> None:
    """Write rows of the examples with filler in place of each answer; the same ones every time."""
    draw = random.Random("lost answers")
    spoilt: list[str] = []
    for line in example_rows(start, rows).splitlines():
        row = json.loads(line)
        row["messages"][-1]["content"] = " ".join(draw.choices(_FILLER, k=12))
        spoilt.append(json.dumps(row))
    file.write_text("\n".join(spoilt) + "\n", encoding="utf-8")
