"""Rows to divide, and the sides that came of it, for the tests of the split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import normalize
from ft_assets.data.near_duplicates import views
from ft_assets.data.row_files import parse_row, row_line
from ft_assets.data.split import SplitReport, split

TEXT = "return the lowest index in the text where the given part of it is found number"
PLAIN: dict[str, Any] = {"ratio": 0.7, "seed": 3, "subset": 0, "near_duplicates": 0.0}


def line(
    question: object,
    answer: str | None = None,
    *,
    group: str | None = None,
    stratum: str | None = None,
) -> bytes:
    content = f"Answer to {question}" if answer is None else answer
    turns = [
        {"role": "user", "content": str(question)},
        {"role": "assistant", "content": content},
    ]
    chat = normalize({"messages": turns})
    return row_line(row_id(chat), canonical_bytes(chat), group=group, stratum=stratum)


def divide(folder: Path, lines: list[bytes], **options: Any) -> SplitReport:
    (folder / "rows.jsonl").write_bytes(b"".join(lines))
    return split(folder / "rows.jsonl", folder / "out", **{**PLAIN, **options})


def ids(lines: list[bytes]) -> list[str]:
    return [json.loads(x)["id"] for x in lines]


def grams(line: bytes) -> dict[str, frozenset[str]]:
    return dict(views(parse_row(line, "a row").row))


def side(folder: Path, name: str) -> list[bytes]:
    return (folder / f"out/{name}.jsonl").read_bytes().splitlines(keepends=True)
