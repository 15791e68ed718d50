"""The child's side of a step's child process: it reports, fails in words, dies with its parent.

Belongs here: what every worker (training, evaluation) does the same way. No Dagster but its Pipes
protocol, no torch.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from resources.errors import UserError

ERROR_FILE = "error.json"
"""In the run folder: ``{"message": ...}`` when the child stopped because of bad input."""

FINISHED = "finished"
"""The phase of a child's last report, with the seconds since its process began."""

PARENT = "STEP_PROCESS"
"""Environment variable: the process id of the step that started the child."""

WARM = "STEP_WORKER_IS_FORKED"
"""Environment variable of a worker that was forked with its libraries imported (warm_host)."""

USER_ERROR_EXIT = 2
INTERRUPTED_EXIT = 130
_PR_SET_PDEATHSIG = 1


class Reporter(Protocol):
    """Tells the step how far the work is."""

    def __call__(self, phase: str, done: float, total: float, **details: Any) -> None:
        """Report progress.

        Args:
            phase: what is being done, in a word or two.
            done: how much of it is done, in the phase's own unit (steps, rows).
            total: how much there is; 0 when unknown.
            details: numbers and texts to show beside it.
        """
        ...


def run_worker(work: Callable[[Path, Reporter], None], argv: list[str]) -> int:
    """Run a worker on the plan file that ``argv`` names and return the exit status.

    Bad input is written to ``error.json`` beside the plan and ends with status 2 and one line on
    stderr; anything else keeps its traceback and ends with status 1.
    """
    die_with_parent()
    plan = Path(argv[0])
    error_file = plan.parent / ERROR_FILE
    error_file.unlink(missing_ok=True)
    try:
        with open_reporter() as report:
            work(plan, report)
    except UserError as error:
        error_file.write_text(json.dumps({"message": str(error)}))
        print(str(error), file=sys.stderr)
        return USER_ERROR_EXIT
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT
    except Exception:  # the process ends here: the traceback is for the step's log
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End the process, without taking its libraries apart.

    An interpreter frees every object at its end. Those of torch and its like are so many that this
    takes longer than many a plan, and in a forked worker it copies their pages besides. What others
    wait for is done as ever: other threads, what is registered for the exit, what was printed.

    Args:
        status: the exit status.
    """
    threading._shutdown()  # pyright: ignore  # as multiprocessing does
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def die_with_parent() -> None:
    """Ask Linux to end this process when the step that started it is gone, however it went."""
    if sys.platform != "linux":
        return
    parent = int(os.environ.get(PARENT, os.getppid()))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the request took effect
        os.kill(os.getpid(), signal.SIGKILL)


def start_cold() -> None:
    """Import the libraries anew, for a worker with settings that they read on import."""
    if os.environ.pop(WARM, None):
        os.execv(sys.executable, [sys.executable, "-m", *_as_started()])  # noqa: S606


def _as_started() -> list[str]:
    main: Any = sys.modules["__main__"]
    return [main.__spec__.name, *sys.argv[1:]]


@contextmanager
def open_reporter() -> Generator[Reporter]:
    """Progress through Dagster Pipes when a step started us, else as lines on stderr."""
    from dagster_pipes import PipesContext, open_dagster_pipes  # pyright: ignore[reportUnknownVariableType]

    if not _started_by_pipes():
        yield _print_progress
        return
    import psutil

    pipes: PipesContext
    with open_dagster_pipes() as pipes:

        def report(phase: str, done: float, total: float, **details: Any) -> None:
            event = {"phase": phase, "done": done, "total": total, "time": time.time(), **details}
            pipes.report_custom_message(event)

        try:
            yield report
        finally:
            report(FINISHED, 1, 1, seconds=time.time() - psutil.Process().create_time())


def _started_by_pipes() -> bool:
    return "DAGSTER_PIPES_CONTEXT" in os.environ


def _print_progress(phase: str, done: float, total: float, **details: Any) -> None:
    numbers = " ".join(f"{name}={value}" for name, value in details.items())
    print(f"{phase} {done:g}/{total:g} {numbers}", file=sys.stderr)
