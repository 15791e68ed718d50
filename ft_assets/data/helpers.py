"""The parent's end of helper processes: their start, their tasks and answers, and their end.

Belongs here: processes and pipes. Does not belong here: what helpers do
(:mod:`~ft_assets.data.check_helper`), and what becomes of it
(:mod:`~ft_assets.data.check_workers`).

Memory: each has an interpreter of its own, which takes 25 MB.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from ft_assets.data.helper_process import START, Settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ft_assets.data.helper_process import Order, Question, Work

WORTH_IT = 64 * 1024 * 1024
"""With less data than this, in bytes, the start of helpers is not worth it."""

_MOST = 4  # helpers, each with an interpreter of its own
_AHEAD = 2  # tasks per helper: one that it works on, one that it takes next
_PIPE = 1024 * 1024  # bytes, the most that Linux allows


def helpers_for(files: Iterable[Path]) -> int:
    """How many helpers are worth it: one per core, none for little data or on one core."""
    size = sum(path.stat().st_size for path in files if path.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST) if size >= WORTH_IT and cores != 1 else 0


T = TypeVar("T")


class Helpers:
    """Processes that are asked in turn; they start with the first task.

    Args:
        work: what each of them can do.
        number: how many processes; with 0 nobody is asked.
    """

    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._number = number
        self._helpers: list[Helper] = []

    def asked(
        self, tasks: Iterable[tuple[T, Question | None]]
    ) -> Iterator[tuple[T, Helper | None]]:
        """The tasks in order, each with the helper that was asked some tasks ago.

        Args:
            tasks: what each is about, and the question; None where no helper is to be asked. They
                are taken when their turn comes.
        """
        while len(self._helpers) < self._number:
            self._helpers.append(Helper(self._work))
        turns = cycle(self._helpers)
        asked: deque[tuple[T, Helper | None]] = deque()
        for about, task in tasks:
            helper = None
            if task and (helper := next(turns, None)):
                helper.ask(task)
            asked.append((about, helper))
            if len(asked) > _AHEAD * self._number:
                yield asked.popleft()
        yield from asked

    def settle(self, path: Path) -> None:
        """Wait until all is done that was asked for; all answers must have been taken.

        Args:
            path: the file that it is about, for the message.

        Raises:
            ChildProcessError: a helper was killed.
            OSError: one could not do what it was told.
        """
        for helper in self._helpers:
            helper.settle(path)

    def end(self) -> None:
        """End the processes, whatever they are doing."""
        for helper in self._helpers:
            helper.end()


class Helper:
    """One process.

    Args:
        work: what it can do.
    """

    def __init__(self, work: Work) -> None:
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
        self._send(work)

    def ask(self, task: Order | Question) -> None:
        """Have a task done. What waits to be done must fit into a pipe: 64 KiB."""
        self._send(task)

    def answer(self, path: Path) -> Any:
        """What the oldest question without an answer has for one.

        Args:
            path: the file that it is about, for the message.

        Raises:
            ChildProcessError: the process was killed.
            OSError: it could not do what it was told before.
        """
        try:
            answer: Any = pickle.load(self._answers)  # noqa: S301 (from a process of our own)
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._death(path) from error
        if isinstance(answer, OSError):
            raise answer
        return answer

    def settle(self, path: Path) -> None:
        """Wait until all is done; all answers must have been taken. As :meth:`answer`."""
        self._send(Settle())
        self.answer(path)

    def end(self) -> None:
        """Whatever it is doing: nobody waits for it."""
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._tasks.close()

    def _send(self, value: object) -> None:
        # Without a buffer, which could not be emptied when the helper is dead. That it is shows
        # when its answer is missing.
        left = memoryview(pickle.dumps(value))
        try:
            while left:
                left = left[os.write(self._tasks.fileno(), left) :]
        except BrokenPipeError:
            return

    def _death(self, path: Path) -> ChildProcessError:
        code = self._process.wait(timeout=60)  # its end of the pipe is closed already
        how = f"ended with code {code}"
        if code < 0:
            how = f"was killed ({_name_of(-code)})"
        if code == -signal.SIGKILL:
            how += ", as the system does when memory runs out"
        return ChildProcessError(
            f"{path.name}: a process that helps with its rows {how}: run it again"
        )


def _name_of(number: int) -> str:
    """A signal's name; real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _widen(pipe: BinaryIO) -> None:
    """So that a helper can go on while its answer waits. Where that cannot be, it waits itself."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        except PermissionError:  # the user has too many wide pipes
            return
