"""Helper processes: where they are worth it, and what they do and leave undone."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from ft_assets.data import helpers
from ft_assets.data.helper_process import Order, Question
from ft_assets.data.helpers import Helper, helpers_for


@dataclass(frozen=True)
class Note(Order):
    """To be written down; without a text there is no room for it."""

    text: str


@dataclass(frozen=True)
class Notes:
    """Work that shows what was done."""

    file: Path

    def do(self, task: Order | Question) -> str | None:
        if isinstance(task, Question):
            return self.file.read_text()
        assert isinstance(task, Note)
        if not task.text:
            raise OSError(errno.ENOSPC, "no room")
        with self.file.open("a") as file:
            file.write(task.text)
        return None


@pytest.fixture
def helper(tmp_path):
    helper = Helper(Notes(tmp_path / "notes.txt"))
    yield helper
    helper.end()


def test_little_data_pays_for_no_process(tmp_path, monkeypatch):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"{}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert helpers_for([path]) == 0
    monkeypatch.setattr(helpers, "WORTH_IT", 1)
    assert helpers_for([path, tmp_path / "missing"]) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert helpers_for([path]) == 0


def test_what_is_asked_for_is_done_in_order(helper, tmp_path):
    for task in (Note("a"), Note("b"), Question(), Note("c"), Question()):
        helper.ask(task)
    assert [helper.answer(tmp_path), helper.answer(tmp_path)] == ["ab", "abc"]
    helper.settle(tmp_path)


def test_after_what_could_not_be_done_nothing_more_is_done(helper, tmp_path):
    for task in (Note("before"), Note(""), Note("after"), Question()):
        helper.ask(task)
    with pytest.raises(OSError, match="no room"):
        helper.answer(tmp_path)
    with pytest.raises(OSError, match="no room"):
        helper.settle(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "before"
