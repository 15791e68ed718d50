"""A dataset folder in small tables, for a notebook, a report or a chart.

In a notebook, with the folder of a raw or a divided dataset::

    from pathlib import Path
    from ft_assets.data.profile import profile

    tables = profile(Path("..."))
    tables["rows"]  # a DataFrame; as the last line of a cell it is shown
    tables["drops"].plot.bar(x="reason", y="count")
    tables["near_pairs"].sort_values("similarity", ascending=False).head(20)

Row files are read row by row; the tables of pairs and of clusters hold one line per dropped row.
"""

# pandas ships no types.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from ft_assets.data.ingest import DROPPED_FILE, ROWS_FILE
from ft_assets.data.row_files import read_rows
from ft_assets.data.shapes import Tokens
from ft_assets.data.split_report import (
    CLUSTERS_FILE,
    HELD_OUT_FILE,
    NEAR_DUPLICATES_FILE,
    TRAIN_FILE,
)
from ft_assets.data.texts import said
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from ft_assets.data.shapes import Row

_ROW_FILES = (ROWS_FILE, TRAIN_FILE, HELD_OUT_FILE)
_PAIR = ["train_id", "held_out_id", "similarity", "view"]
_MEMBER = ["cluster", "first_id", "id", "similarity"]


@dataclass
class _Sizes:
    rows: int = 0
    turns: int = 0
    answers: int = 0
    characters: int = 0
    answer_characters: int = 0
    longest: int = 0
    tokens: int = 0
    shapes: Counter[str] = field(default_factory=Counter[str])

    def add(self, row: Row) -> None:
        self.rows += 1
        self.shapes[type(row).__name__.lower()] += 1
        if isinstance(row, Tokens):
            self.tokens += len(row.input_ids)
            return
        pieces, answers = said(row)
        length = sum(map(len, pieces))
        self.turns += len(pieces)
        self.answers += len(answers)
        self.characters += length
        self.answer_characters += sum(map(len, answers))
        self.longest = max(self.longest, length)


def profile(folder: Path) -> dict[str, pd.DataFrame]:
    """Tables about the raw or the divided dataset in ``folder``.

    - ``rows``: one line per row file with ``file``, ``rows``, ``turns`` (system turns are not
      counted; the segments of a template-free row, or its text, count as turns), ``answers`` (what
      the model is to say, as far as the row alone tells), ``characters`` and ``answer_characters``
      of these, ``characters_per_row``, ``longest`` (characters of the longest row) and ``tokens``
      (of rows that are tokens already, which have no characters).
    - ``shapes``: ``file``, ``shape`` (``chat``, ``segments``, ``text``, ``tokens``) and ``rows``.
    - ``drops``: ``file``, ``reason`` and ``count`` of the rows that were dropped and listed.
    - ``near_pairs``, of a divided dataset: ``train_id``, ``held_out_id``, ``similarity`` (Jaccard,
      0 to 1) and ``view`` (``conversation`` or ``answer``), one line per training row that was
      dropped because it nearly equals a held-out row.
    - ``clusters``, of a divided dataset: ``cluster``, ``first_id`` (the row that is kept), ``id``
      (the row that was dropped) and ``similarity``.

    Raises:
        UserError: the folder holds no row file.
    """
    import pandas as pd

    sizes = {name: _sizes(folder / name) for name in _ROW_FILES if (folder / name).is_file()}
    if not sizes:
        raise UserError(f"{folder}: none of {', '.join(_ROW_FILES)} is there")
    shapes = [(name, *item) for name, of in sizes.items() for item in of.shapes.most_common()]
    tables = {
        "rows": pd.DataFrame([_row_line(name, of) for name, of in sizes.items()]),
        "shapes": pd.DataFrame(shapes, columns=["file", "shape", "rows"]),
        "drops": pd.DataFrame(_drop_lines(folder), columns=["file", "reason", "count"]),
    }
    if (folder / NEAR_DUPLICATES_FILE).is_file():
        tables["near_pairs"] = pd.DataFrame(_lines(folder / NEAR_DUPLICATES_FILE), columns=_PAIR)
    if (folder / CLUSTERS_FILE).is_file():
        tables["clusters"] = pd.DataFrame(_lines(folder / CLUSTERS_FILE), columns=_MEMBER)
    return tables


def _sizes(path: Path) -> _Sizes:
    sizes = _Sizes()
    for row in read_rows(path):
        sizes.add(row.row)
    return sizes


def _row_line(name: str, sizes: _Sizes) -> dict[str, Any]:
    return {
        "file": name,
        "rows": sizes.rows,
        "turns": sizes.turns,
        "answers": sizes.answers,
        "characters": sizes.characters,
        "answer_characters": sizes.answer_characters,
        "characters_per_row": sizes.characters / sizes.rows if sizes.rows else 0.0,
        "longest": sizes.longest,
        "tokens": sizes.tokens,
    }


def _drop_lines(folder: Path) -> list[tuple[str, str, int]]:
    dropped = Counter((row["file"], row["kind"]) for row in _lines(folder / DROPPED_FILE))
    near = Counter(row["view"] for row in _lines(folder / NEAR_DUPLICATES_FILE))
    members = sum(1 for _ in _lines(folder / CLUSTERS_FILE))
    return [
        *((file, kind, count) for (file, kind), count in dropped.most_common()),
        *((TRAIN_FILE, f"near_duplicate_of_held_out ({view})", n) for view, n in near.items()),
        *([(TRAIN_FILE, "near_duplicate_in_training", members)] if members else []),
    ]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open("rb") as file:
            yield from map(orjson.loads, file)
