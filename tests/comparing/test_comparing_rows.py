"""Rows are compared in constant memory, whatever their number, doubles and order."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_assets.comparing import rows
from ft_assets.comparing.rows import Sides, compare_rows
from tests.comparing.conftest import row_id

NUMBERS = st.lists(st.integers(0, 12), max_size=12)


def write(file: Path, numbers) -> Path:
    lines = (json.dumps({"id": row_id(n), "messages": []}, separators=(",", ":")) for n in numbers)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("rows")


@settings(max_examples=50)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_it_is_what_sets_would_say(folder, old_train, old_held, new_train, new_held):
    old = Sides(write(folder / "a", old_train), write(folder / "b", old_held))
    new = Sides(write(folder / "c", new_train), write(folder / "d", new_held))
    found = compare_rows(old, new)
    a, b, c, d = set(old_train), set(old_held), set(new_train), set(new_held)
    assert (found.train_added, found.train_removed) == (len(c - a), len(a - c))
    assert (found.held_out_added, found.held_out_removed) == (len(d - b), len(b - d))
    assert (found.moved_to_training, found.moved_to_held_out) == (len(b & c), len(a & d))


def test_beyond_a_bound_ids_go_to_disk(tmp_path, monkeypatch):
    old = Sides(write(tmp_path / "a", range(6_000)), write(tmp_path / "b", range(9_000, 9_100)))
    new = Sides(write(tmp_path / "c", range(500, 7_000)), write(tmp_path / "d", range(9_050)))
    in_memory = compare_rows(old, new)
    monkeypatch.setattr(rows, "_IDS_IN_MEMORY", 500)
    assert compare_rows(old, new) == in_memory
    assert in_memory.train_added == 1_000


def test_memory_does_not_grow_with_what_the_rows_say(tmp_path):
    """Ten times the bytes in the same number of rows."""
    peaks: list[int] = []
    for name, words in (("short", 100), ("long", 1_000)):
        file = tmp_path / name
        text = "word " * words
        with file.open("w") as lines:
            for number in range(3_000):
                lines.write(json.dumps({"id": row_id(number), "text": text}, separators=(",", ":")))
                lines.write("\n")
        empty = write(tmp_path / f"{name}-held", [])
        tracemalloc.start()
        compare_rows(Sides(file, empty), Sides(file, empty))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
