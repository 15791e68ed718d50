"""The lines of a large file checked by several processes, and written in the file's order.

An uncompressed file of lines is cut into ranges of whole lines. Helper processes take them in turn,
read them by themselves, send back what is known of them, and write the rows to the place that they
are then told; what rows say goes through no pipe. The parts are the same whoever makes them.
Without helpers, and where a range holds a giant line, they are made here.

Belongs here: the parent's end of the pipes, and the helpers' life. Does not belong here: the
helper's end (:mod:`~ft_assets.data.check_helper`), what happens to a range
(:mod:`~ft_assets.data.line_ranges`) and to a row (:mod:`~ft_assets.data.checked_rows`).

Memory: a few ranges of 512 KiB per helper, more where a line is longer, and its interpreter: 25 MB
each.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from ft_assets.data.check_helper import START, Begin, Check, Found, Settle, Write
from ft_assets.data.line_ranges import checked, giant_parts, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from ft_assets.data.checked_rows import Checker, Part
    from ft_assets.data.line_ranges import Range

WORTH_IT = 64 * 1024 * 1024
"""With less data than this, in bytes, the start of helpers is not worth it."""

_MOST = 4  # helpers, each with an interpreter of its own
_GIANT = 4 * 1024 * 1024  # bytes; one at a time, so that giant lines do not multiply
_PIPE = 1024 * 1024  # bytes, the most that Linux allows
_AHEAD = 2  # ranges per helper: one that it works on, one that it takes next


def helpers_for(files: Iterable[tuple[str, Path]]) -> int:
    """How many helpers are worth it: one per core, none for little data or on one core."""
    size = sum(path.stat().st_size for _, path in files if path.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST) if size >= WORTH_IT and cores != 1 else 0


class Helpers:
    """The processes that check rows; they start when the first range is there, and end with this.

    Args:
        checker: what checks rows.
        number: how many processes; with 0 the work is done here.
        out: the file that they write the rows to; it is there.
    """

    def __init__(self, checker: Checker, number: int, out: Path) -> None:
        self._checker = checker
        self._number = number
        self._out = out
        self._helpers: list[_Helper] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.end()

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
        for range_, helper in self._dealt(path, begin, samples):
            if range_.size > _GIANT:
                parts, more = giant_parts(self._checker, path, range_, samples())
            else:
                answer = helper.answer(path) if helper else None
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
        for helper in self._helpers:
            helper.settle()

    def _dealt(
        self, path: Path, begin: int, samples: Callable[[], int]
    ) -> Iterator[tuple[Range, _Helper | None]]:
        """The ranges in order, each with the helper that was asked some ranges ago to check it."""
        while len(self._helpers) < self._number:
            self._helpers.append(_Helper(self._checker, self._out))
        turns = cycle(self._helpers)
        asked: deque[tuple[Range, _Helper | None]] = deque()
        for range_ in ranges(path, begin):
            helper = next(turns, None) if range_.size <= _GIANT else None
            if helper:
                helper.ask(path, range_, samples())
            asked.append((range_, helper))
            if len(asked) > _AHEAD * self._number:
                yield asked.popleft()
        yield from asked


class _Helper:
    """The parent's end."""

    def __init__(self, checker: Checker, out: Path) -> None:
        self._out = out
        # The parent's own path, so that the helper finds the same modules wherever it starts.
        path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
        environment = {**os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(  # noqa: S603 (nothing in it comes from outside)
            [sys.executable, "-P", "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,  # Ctrl-C in a terminal reaches the parent alone, which ends this
        )
        self._tasks = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)
        _widen(self._answers)
        self._send(Begin(checker, str(out)))

    def ask(self, path: Path, range_: Range, samples: int) -> None:
        """Have a range checked; the answers come in the order of the questions."""
        self._send(Check(str(path), range_, samples))

    def answer(self, path: Path) -> tuple[list[Part], int] | None:
        """The parts of the range, and the lines in it; None for one that raises an error."""
        found: Found | None = self._receive(path)
        if found is None:
            return None
        parts, lines = found
        held = (_Held(size, None if number else self) for number, (_, size) in enumerate(parts))
        return [
            replace(part, elsewhere=one) for (part, _), one in zip(parts, held, strict=True)
        ], lines

    def write_at(self, begin: int) -> None:
        """Have the oldest range written that is not; whether it could shows later."""
        self._send(Write(begin))

    def settle(self) -> None:
        """Wait until what was to be written is written."""
        self._send(Settle())
        self._receive(self._out)

    def _receive(self, path: Path) -> Any:
        try:
            answer: Any = pickle.load(self._answers)  # noqa: S301 (from a process of our own)
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._death(path) from error
        if isinstance(answer, OSError):
            raise answer
        return answer

    def end(self) -> None:
        """Whatever it is doing: nobody waits for it."""
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._tasks.close()

    def _send(self, value: object) -> None:
        # Without a buffer, which could not be emptied when the helper is dead. That it is shows
        # when its answer is missing.
        try:
            os.write(self._tasks.fileno(), pickle.dumps(value))
        except BrokenPipeError:
            return

    def _death(self, path: Path) -> ChildProcessError:
        code = self._process.wait(timeout=60)  # its end of the pipe is closed already
        how = f"ended with code {code}"
        if code < 0:
            how = f"was killed ({signal.Signals(-code).name})"
        if code == -signal.SIGKILL:
            how += ", as the system does when memory runs out"
        return ChildProcessError(
            f"{path.name}: a process that helps to check the rows {how}: run it again"
        )


class _Held:
    """The lines of a part that a helper holds.

    Parts of a range are written one behind the other: the helper is told where the first begins. A
    word for each could be more than a pipe holds, while the helper waits to be listened to.
    """

    def __init__(self, size: int, helper: _Helper | None) -> None:
        self.size = size
        self._helper = helper
        """Who is to be told; None for a part that is not its range's first."""

    def write_at(self, begin: int) -> None:
        if self._helper is not None:
            self._helper.write_at(begin)


def _widen(pipe: BinaryIO) -> None:
    """So that a helper can go on while its answer waits. Where that cannot be, it waits itself."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        except PermissionError:  # the user has too many wide pipes
            return
