"""Checking ranges of a file in a helper process, which then writes their rows where it is told.

The parent is told what is known of a part, and tells in return where in the file of all rows its
lines begin.

Belongs here: the tasks, and what is done for each. Does not belong here: whom to ask, and what
becomes of the answers (:mod:`~ft_assets.data.check_workers`).
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ft_assets.data.helper_process import Order, Question, write_at
from ft_assets.data.line_ranges import Range, checked

if TYPE_CHECKING:
    from ft_assets.data.checked_rows import Checker, Part


@dataclass(frozen=True, slots=True)
class Check(Question):
    """Check a range. The answer is a :data:`Found`, or None for a range that raises an error."""

    path: str
    range: Range
    samples: int


@dataclass(frozen=True, slots=True)
class Write(Order):
    """Write the lines of the oldest range that is held, and hold them no longer."""

    begin: int


Found = tuple["list[tuple[Part, int]]", int]
"""Per part of the range what is known of it and the bytes of its lines; the lines in the range."""


class CheckWork:
    """What a helper knows between two tasks.

    Args:
        checker: what checks rows.
        out: the file that rows are written to; it is there.
    """

    def __init__(self, checker: Checker, out: str) -> None:
        self._checker = checker
        self._out = out
        self._file: int | None = None
        self._held: deque[list[bytes]] = deque()
        """Per range that was checked the lines of its parts."""

    def do(self, task: Order | Question) -> Found | None:
        """Check a range, or write the rows of one."""
        if isinstance(task, Check):
            return self._check(task)
        if isinstance(task, Write):
            self._write(task)
        return None

    def _check(self, task: Check) -> Found | None:
        try:
            parts, lines = checked(self._checker, Path(task.path), task.range, task.samples)
        except Exception:
            return None  # the parent checks the range again, and raises what it raises
        self._held.append([part.lines for part in parts])
        return [(replace(part, lines=b""), len(part.lines)) for part in parts], lines

    def _write(self, task: Write) -> None:
        if self._file is None:
            self._file = os.open(self._out, os.O_WRONLY)
        write_at(self._file, task.begin, self._held.popleft())
