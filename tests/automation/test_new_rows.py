"""How many rows a drop at its source would bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from ft_assets.automation.new_rows import count_rows
from resources.errors import UserError
from resources.sources import Sources
from tests.support.loopback_hub import Repo, loopback_hub

ROW = b'{"messages": []}\n'


def write(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ROW * rows)


def test_the_rows_of_a_drop_are_counted_where_it_lies(tmp_path: Path):
    write(tmp_path / "drops" / "a" / "1.jsonl", 3)
    write(tmp_path / "drops" / "a" / "2.jsonl", 4)
    sources, scratch = Sources(data_roots=[str(tmp_path)]), tmp_path / "scratch"

    def rows(partition: str, at_least: int) -> int:
        return count_rows(
            sources,
            "drops/{partition}/",
            partition,
            at_least,
            base_dir=tmp_path,
            scratch=scratch,
        )

    assert (rows("a", 100), rows("a", 5), rows("a", 0), rows("none", 5)) == (7, 5, 0, 0)
    assert list(scratch.iterdir()) == []


def test_the_rows_of_a_hub_dataset_are_counted_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with loopback_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.datasets["org/rows"] = Repo({"main": {"train.jsonl": ROW * 5}})
        sources = Sources(data_roots=[])
        assert count_rows(sources, "hf://org/rows", None, 100, scratch=tmp_path) == 5
    assert list(tmp_path.iterdir()) == []


def test_a_place_outside_the_roots_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="outside the allowed roots"):
        count_rows(Sources(data_roots=[]), str(tmp_path), None, 5, scratch=tmp_path)
