"""A dataset folder in two small tables, for a notebook, a report or a chart."""

# pandas ships no types.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ft_assets.data.ingest import DROPPED_FILE, ROWS_FILE
from ft_assets.data.row_files import read_rows
from ft_assets.data.split import HELD_OUT_FILE, NEAR_DUPLICATES_FILE, TRAIN_FILE
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

_ROW_FILES = (ROWS_FILE, TRAIN_FILE, HELD_OUT_FILE)


@dataclass
class _Sizes:
    rows: int = 0
    turns: int = 0
    answers: int = 0
    characters: int = 0
    answer_characters: int = 0
    longest: int = 0

    def add(self, messages: list[dict[str, str]]) -> None:
        said = [m["content"] for m in messages if m["role"] == "assistant"]
        length = sum(len(m["content"]) for m in messages)
        self.rows += 1
        self.turns += len(messages)
        self.answers += len(said)
        self.characters += length
        self.answer_characters += sum(map(len, said))
        self.longest = max(self.longest, length)


def profile(folder: Path) -> dict[str, pd.DataFrame]:
    """Two tables about the raw or the divided dataset in ``folder``.

    ``rows``: one line per row file with ``rows``, ``turns``, ``answers`` (assistant turns),
    ``characters``, ``answer_characters``, ``characters_per_row`` and ``longest`` (characters of the
    longest row). ``drops``: ``file``, ``reason`` and ``count`` of the rows that were dropped.

    Raises:
        UserError: the folder holds no row file.
    """
    import pandas as pd

    present = [name for name in _ROW_FILES if (folder / name).is_file()]
    if not present:
        raise UserError(f"{folder}: none of {', '.join(_ROW_FILES)} is there")
    rows = pd.DataFrame([_row_line(folder, name) for name in present])
    drops = pd.DataFrame(_drop_lines(folder), columns=["file", "reason", "count"])
    return {"rows": rows, "drops": drops}


def _row_line(folder: Path, name: str) -> dict[str, Any]:
    sizes = _Sizes()
    for row in read_rows(folder / name):
        sizes.add(row.messages)
    return {
        "file": name,
        "rows": sizes.rows,
        "turns": sizes.turns,
        "answers": sizes.answers,
        "characters": sizes.characters,
        "answer_characters": sizes.answer_characters,
        "characters_per_row": sizes.characters / sizes.rows if sizes.rows else 0.0,
        "longest": sizes.longest,
    }


def _drop_lines(folder: Path) -> list[tuple[str, str, int]]:
    dropped = Counter((row["file"], row["kind"]) for row in _lines(folder / DROPPED_FILE))
    near = Counter(row["view"] for row in _lines(folder / NEAR_DUPLICATES_FILE))
    return [
        *((file, kind, count) for (file, kind), count in dropped.most_common()),
        *((TRAIN_FILE, f"near_duplicate_of_held_out ({view})", n) for view, n in near.items()),
    ]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open("rb") as file:
            yield from map(orjson.loads, file)
