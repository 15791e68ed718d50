"""The lines of a large file checked by several processes, and given back in the file's order.

An uncompressed file of lines is cut into ranges of whole lines. Helper processes take them in turn,
read them by themselves, and send back parts; the process that asks only puts these together. The
parts are the same whoever makes them. Without helpers, and where a range holds a giant line, they
are made here.

Belongs here: both ends of the pipes, and the helpers' life. Does not belong here: what happens to
a row (:mod:`~ft_assets.data.checked_rows`), which is also all that a helper has to import.

Memory: a few ranges of 512 KiB per helper, and its interpreter: 25 MB each.
"""

from __future__ import annotations

import fcntl
import io
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self, cast

from ft_assets.data.rows import line_rows
from resources.errors import UserError
from resources.freed_memory import BLOCKS, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from ft_assets.data.checked_rows import Checker, Part
    from ft_assets.data.fast_rows import Looked
    from ft_assets.data.rows import BadRow, RawRow

WORTH_IT = 64 * 1024 * 1024
"""With less data than this, in bytes, the start of helpers is not worth it."""

_MOST = 4  # helpers; then writing and hashing, which stay here, take longer than checking
_RANGE = 512 * 1024  # bytes; what it comes to fits into a pipe, so a helper need not wait
_GIANT = 4 * 1024 * 1024  # bytes; one at a time, so that giant lines do not multiply
_PIPE = 1024 * 1024  # bytes, the most that Linux allows
_LOOK = 16 * 1024  # bytes, in which the end of a line is looked for
_AHEAD = 2  # ranges per helper: one that it works on, one that it takes next
_START = "from ft_assets.data.check_workers import serve; serve()"


def helpers_for(files: Iterable[tuple[str, Path]]) -> int:
    """How many helpers are worth it: one per core, none for little data or on one core."""
    size = sum(path.stat().st_size for _, path in files if path.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST) if size >= WORTH_IT and cores != 1 else 0


class _Range(NamedTuple):
    """Whole lines of a file, in bytes."""

    start: int
    size: int


class Helpers:
    """The processes that check rows; they start when the first range is there, and end with this.

    Args:
        checker: what checks rows.
        number: how many processes; with 0 the work is done here.
    """

    def __init__(self, checker: Checker, number: int) -> None:
        self._checker = checker
        self._number = number
        self._helpers: list[_Helper] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.end()

    def parts(
        self, path: Path, begin: int, samples: Callable[[], int]
    ) -> Generator[Part, None, None]:
        """What the lines of a file come to, in order.

        Args:
            path: an uncompressed JSON Lines file.
            begin: the byte at which its first line begins.
            samples: how many more samples are wanted.

        Raises:
            UserError: the file became shorter meanwhile.
            ChildProcessError: a helper was killed.
        """
        lines = 0
        for range_, helper in self._dealt(path, begin, samples):
            if range_.size > _GIANT:
                parts, more = _giant_parts(self._checker, path, range_, samples())
            else:
                answer = helper.answer(path) if helper else None
                parts, more = answer or _checked(self._checker, path, range_, samples())
            for part in parts:
                yield part.moved(lines, range_.start)
            lines += more

    def _dealt(
        self, path: Path, begin: int, samples: Callable[[], int]
    ) -> Iterator[tuple[_Range, _Helper | None]]:
        """The ranges in order, each with the helper that was asked some ranges ago to check it."""
        while len(self._helpers) < self._number:
            self._helpers.append(_Helper(self._checker))
        turns = cycle(self._helpers)
        asked: deque[tuple[_Range, _Helper | None]] = deque()
        for range_ in _ranges(path, begin):
            helper = next(turns, None) if range_.size <= _GIANT else None
            if helper:
                helper.ask(path, range_, samples())
            asked.append((range_, helper))
            if len(asked) > _AHEAD * self._number:
                yield asked.popleft()
        yield from asked


class _Helper:
    """The parent's end."""

    def __init__(self, checker: Checker) -> None:
        # The parent's own path, so that the helper finds the same modules wherever it starts.
        path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
        environment = {**os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(  # noqa: S603 (nothing in it comes from outside)
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,  # Ctrl-C in a terminal reaches the parent alone, which ends this
        )
        self._tasks = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)
        _widen(self._answers)
        self._send(checker)

    def ask(self, path: Path, range_: _Range, samples: int) -> None:
        """Have a range checked; the answers come in the order of the questions."""
        self._send((str(path), range_.start, range_.size, samples))

    def answer(self, path: Path) -> _Answer | None:
        """The parts of the range, and the lines in it; None for one that raises an error."""
        try:
            return pickle.load(self._answers)  # noqa: S301 (from a process of our own)
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._death(path) from error

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


_Answer = tuple["list[Part]", int]


def serve() -> None:
    """The helper's end: check ranges until the parent closes the pipe, or is gone."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    keep_freed_memory(BLOCKS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    tasks = sys.stdin.buffer
    checker: Checker = pickle.load(tasks)  # noqa: S301 (from the parent)
    while True:
        try:
            path, start, size, samples = pickle.load(tasks)  # noqa: S301
        except EOFError:
            return
        try:
            answer = _checked(checker, Path(path), _Range(start, size), samples)
        except Exception:
            answer = None  # the parent checks the range again, and raises what it raises
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _checked(checker: Checker, path: Path, range_: _Range, samples: int) -> _Answer:
    with path.open("rb", buffering=0) as file:
        file.seek(range_.start)
        block = file.read(range_.size)
    if len(block) < range_.size:
        raise _shorter(path)
    lines = 0

    def rows() -> Iterator[Looked | RawRow | BadRow]:
        nonlocal lines
        lines = yield from line_rows(io.BytesIO(block), range_.size, checker.known)

    return list(checker.parts(rows(), samples)), lines


def _giant_parts(
    checker: Checker, path: Path, range_: _Range, samples: int
) -> tuple[Iterator[Part], int]:
    """As :func:`_checked`, but the range is not held in memory."""

    def parts() -> Iterator[Part]:
        with path.open("rb", buffering=_RANGE) as file:
            file.seek(range_.start)
            stream = cast("io.BufferedReader", file)
            yield from checker.parts(line_rows(stream, range_.size, checker.known), samples)

    lines = 0
    with path.open("rb", buffering=0) as file:
        file.seek(range_.start)
        left = range_.size
        while left and (piece := file.read(min(_RANGE, left))):
            lines += piece.count(b"\n")
            left -= len(piece)
    if left:
        raise _shorter(path)
    return parts(), lines


def _shorter(path: Path) -> UserError:
    return UserError(f"{path.name}: the file became shorter while it was read: run it again")


def _ranges(path: Path, begin: int) -> Iterator[_Range]:
    """The file's lines from ``begin`` on."""
    with path.open("rb", buffering=0) as file:
        length = os.fstat(file.fileno()).st_size
        while begin < length:
            end = _end_of_line(file, begin + _RANGE - 1, length)
            yield _Range(begin, end - begin)
            begin = end


def _end_of_line(file: BinaryIO, place: int, length: int) -> int:
    """Where the line that holds this byte ends."""
    while place < length:
        file.seek(place)
        piece = file.read(_LOOK)
        if not piece:
            break
        found = piece.find(b"\n")
        if found >= 0:
            return place + found + 1
        place += len(piece)
    return length


def _widen(pipe: BinaryIO) -> None:
    """So that a helper can go on while its answer waits. Where that cannot be, it waits itself."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        except PermissionError:  # the user has too many wide pipes
            return
