"""The lines of a large file checked by several processes, and written in the file's order.

An uncompressed file of lines is cut into ranges of whole lines. Helper processes take them in turn,
read them by themselves, send back what is known of them, and write the rows to the place that they
are then told. The parts are the same whoever makes them. Without helpers, and where a range holds a
giant line, they are made here.

Belongs here: whom to ask for what, and what becomes of the answers. Does not belong here: processes
and pipes (:mod:`~ft_assets.data.helpers`), the helper's end (:mod:`~ft_assets.data.check_helper`),
what happens to a range (:mod:`~ft_assets.data.line_ranges`) and to a row
(:mod:`~ft_assets.data.checked_rows`).

Memory: a few ranges of 1 MiB per helper, more where a line is longer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from ft_assets.data.check_helper import Check, CheckWork, Found, Write
from ft_assets.data.helpers import Helpers
from ft_assets.data.line_ranges import GIANT, checked, giant_parts, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ft_assets.data.checked_rows import Checker, Part
    from ft_assets.data.helpers import Helper
    from ft_assets.data.line_ranges import Range


class CheckWorkers:
    """The processes that check rows; they start when the first range is there, and end with this.

    Args:
        checker: what checks rows.
        number: how many processes; with 0 the work is done here.
        out: the file that they write the rows to; it is there.
    """

    def __init__(self, checker: Checker, number: int, out: Path) -> None:
        self._checker = checker
        self._out = out
        self._helpers = Helpers(CheckWork(checker, str(out)), number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._helpers.end()

    def parts(
        self, path: Path, begin: int, samples: Callable[[], int]
    ) -> Generator[Part, None, None]:
        """What the lines of a file come to, in order. Each part's rows are to be written.

        Args:
            path: an uncompressed JSON Lines file.
            begin: the byte at which its first line begins.
            samples: how many more samples are wanted.

        Raises:
            UserError: the file became shorter meanwhile.
            ChildProcessError: a helper was killed.
            OSError: a helper could not write earlier rows.
        """
        lines = 0
        tasks = ((range_, _task(path, range_, samples)) for range_ in ranges(path, begin))
        for range_, helper in self._helpers.asked(tasks):
            if range_.size > GIANT:
                parts, more = giant_parts(self._checker, path, range_, samples())
            else:
                answer = _found(helper, path) if helper else None
                parts, more = answer or checked(self._checker, path, range_, samples())
            for part in parts:
                yield part.moved(lines, range_.start)
            lines += more

    def settle(self) -> None:
        """Wait until all rows are written that helpers hold.

        Raises:
            ChildProcessError: a helper was killed.
            OSError: one could not write rows.
        """
        self._helpers.settle(self._out)


def _task(path: Path, range_: Range, samples: Callable[[], int]) -> Check | None:
    """What to ask a helper about a range; None for one with a giant line."""
    return Check(str(path), range_, samples()) if range_.size <= GIANT else None


def _found(helper: Helper, path: Path) -> tuple[list[Part], int] | None:
    """The parts of a range, and the lines in it; None for one that raises an error."""
    found: Found | None = helper.answer(path)
    if found is None:
        return None
    parts, lines = found
    held = (_Held(size, None if number else helper) for number, (_, size) in enumerate(parts))
    return [replace(part, elsewhere=one) for (part, _), one in zip(parts, held, strict=True)], lines


class _Held:
    """The lines of a part that a helper holds.

    Parts of a range are written one behind the other: the helper is told where the first begins. A
    word for each could be more than a pipe holds, while the helper waits to be listened to.
    """

    def __init__(self, size: int, helper: Helper | None) -> None:
        self.size = size
        self._helper = helper
        """Who is to be told; None for a part that is not its range's first."""

    def write_at(self, begin: int) -> None:
        if self._helper is not None:
            self._helper.ask(Write(begin))
