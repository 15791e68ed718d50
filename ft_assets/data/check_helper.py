"""A process that helps to check rows: it checks ranges, and writes their rows where it is told.

It is asked through one pipe and answers through another one, both with pickles. What rows say goes
through neither: the parent is told what is known of a part, and tells in return where in the file
of all rows its lines begin.

Belongs here: the helper's end. Does not belong here: whom to ask, and what becomes of the answers
(:mod:`~ft_assets.data.check_workers`).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ft_assets.data.line_ranges import Range, checked
from resources.freed_memory import BLOCKS, keep_freed_memory

if TYPE_CHECKING:
    from ft_assets.data.checked_rows import Checker, Part

START = "from ft_assets.data.check_helper import serve; serve()"
"""The program of a helper."""


class Begin(NamedTuple):
    """What a helper is told first."""

    checker: Checker
    out: str
    """The file that rows are written to; it is there."""


class Check(NamedTuple):
    """Check a range. The answer is a :data:`Found`, or None for a range that raises an error; an
    OSError, when rows could not be written before."""

    path: str
    range: Range
    samples: int


class Write(NamedTuple):
    """Write the lines of the oldest range that is held, and hold them no longer. No answer."""

    begin: int


class Settle(NamedTuple):
    """Answer when all is done that was asked for before: None, or the OSError of what was not."""


Found = tuple["list[tuple[Part, int]]", int]
"""Per part of the range what is known of it and the bytes of its lines; the lines in the range."""


def serve() -> None:
    """Do what is asked until the parent closes the pipe, or is gone."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    keep_freed_memory(BLOCKS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    tasks = sys.stdin.buffer
    begin: Begin = pickle.load(tasks)  # noqa: S301 (from the parent)
    helper = _Helper(begin)
    while True:
        try:
            task: Check | Write | Settle = pickle.load(tasks)  # noqa: S301
        except EOFError:
            return
        if isinstance(task, Write):
            helper.write(task)
            continue
        answer = helper.failure or (helper.check(task) if isinstance(task, Check) else None)
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


class _Helper:
    """What is known between two tasks."""

    def __init__(self, begin: Begin) -> None:
        self._checker = begin.checker
        self._file = os.open(begin.out, os.O_WRONLY)
        self._held: deque[list[bytes]] = deque()
        """Per range that was checked the lines of its parts."""
        self.failure: OSError | None = None
        """Why rows could not be written; after it nothing is."""

    def check(self, task: Check) -> Found | None:
        try:
            parts, lines = checked(self._checker, Path(task.path), task.range, task.samples)
        except Exception:
            return None  # the parent checks the range again, and raises what it raises
        self._held.append([part.lines for part in parts])
        return [(replace(part, lines=b""), len(part.lines)) for part in parts], lines

    def write(self, task: Write) -> None:
        begin, parts = task.begin, self._held.popleft()
        if self.failure is not None:
            return
        try:
            for lines in parts:
                begin = _written(self._file, lines, begin)
        except OSError as error:
            self.failure = error


def _written(file: int, lines: bytes, begin: int) -> int:
    """Where the lines end that begin there."""
    left = memoryview(lines)
    while left:
        written = os.pwrite(file, left, begin)
        begin, left = begin + written, left[written:]
    return begin
