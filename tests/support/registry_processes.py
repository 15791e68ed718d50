"""Work in many processes at once, and processes that die at a statement."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

PROCESSES = 8
_FORK = multiprocessing.get_context("fork")


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """What each function gives, run in a process of its own, all started by one barrier."""
    barrier, answers = _FORK.Barrier(len(works)), _FORK.Queue()

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        answers.put(work())

    processes = [_FORK.Process(target=run, args=(work,)) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(works)
    return [answers.get() for _ in works]


def kill_at_statement(work: Callable[[], object], start: str) -> bool:
    """Run ``work`` in a child that kills itself before the first SQL statement with this start."""
    real_connect = sqlite3.connect

    def die_at(statement: str) -> None:
        if statement.lstrip().startswith(start):
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = real_connect(*arguments, **options)
        connection.set_trace_callback(die_at)
        return connection

    def in_the_child() -> None:
        sqlite3.connect = connect
        work()

    child = _FORK.Process(target=in_the_child)
    child.start()
    child.join()
    return child.exitcode == -signal.SIGKILL
