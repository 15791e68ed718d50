"""A process that helps with a large file: it does one task after the other until nobody asks.

It is asked through one pipe and answers through another one, both with pickles. What rows say goes
through neither: a helper reads them from a file and writes them to one.

Belongs here: the helper's end. Does not belong here: the parent's end
(:mod:`~ft_assets.data.helpers`), and what there is to do (:mod:`~ft_assets.data.check_helper`).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resources.freed_memory import BLOCKS, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

START = "from ft_assets.data.helper_process import serve; serve()"
"""The program of a helper."""


@dataclass(frozen=True, slots=True)
class Order:
    """A task without an answer; why it could not be done is the next answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """A task with an answer."""


@dataclass(frozen=True, slots=True)
class Settle(Question):
    """The answer, None, says that all is done that was asked for before."""


class Work(Protocol):
    """What a helper can do: the first that it is told, as a pickle."""

    def do(self, task: Order | Question) -> object:
        """The answer to a question.

        Raises:
            OSError: a file cannot be written: the answer to all questions from now on.
        """
        ...


def serve() -> None:
    """Do what is asked until the parent closes the pipe, or is gone."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    keep_freed_memory(BLOCKS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    tasks = sys.stdin.buffer
    work: Work = pickle.load(tasks)  # noqa: S301 (from the parent)
    failure: OSError | None = None
    while True:
        try:
            task: Order | Question = pickle.load(tasks)  # noqa: S301
        except EOFError:
            return
        answer: object = None
        if failure is None and not isinstance(task, Settle):
            try:
                answer = work.do(task)
            except OSError as error:
                failure = error
        if isinstance(task, Question):
            pickle.dump(failure or answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()


def write_at(file: int, begin: int, pieces: Iterable[bytes]) -> None:
    """Write pieces one behind the other.

    Args:
        file: the file's descriptor.
        begin: the byte at which the first piece begins.
        pieces: what to write.
    """
    for piece in pieces:
        left = memoryview(piece)
        while left:
            written = os.pwrite(file, left, begin)
            begin, left = begin + written, left[written:]
