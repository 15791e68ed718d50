"""Training processes that start at once: a server with everything imported forks one per plan.

Each is a process of its own, as ``python -m ft_assets.training.worker`` is, and is killed for real:
by the test, or by itself with SIGKILL at the n-th time that it does something to a file, which hits
a moment that a test that watches from outside would miss.

Lines of JSON on stdin, ``{"plan", "stderr", "kill"}``; for each ``{"pid"}`` and ``{"status"}`` on
stdout, the second when it has ended, with a negative number for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Kill = tuple[str, str, int]
"""An audit event (``open``, ``os.rename``, ...; empty for any), what its path contains, which
time. https://docs.python.org/3/library/audit_events.html"""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, and what it said on stderr."""

    status: int
    said: str


class WarmWorkers:
    """The test's side."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server = server
        self._log = folder / "stderr"

    def run(
        self,
        plan: Path,
        *,
        kill: Kill | None = None,
        send: tuple[int, Callable[[str], bool]] | None = None,
        times: int = 1,
    ) -> Ended:
        """Run the worker on a plan to its end.

        Args:
            plan: the plan file.
            kill: the process sends itself SIGKILL then.
            send: a signal, and when to send it, decided from what it has said so far.
            times: how often it is sent, one after the other.
        """
        assert self._server.stdin is not None
        self._log.write_text("")
        order = {"plan": str(plan), "stderr": str(self._log), "kill": kill}
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        pid = self._answer()["pid"]
        if send is not None:
            number, due = send
            ends = time.monotonic() + 60
            while not due(self._log.read_text()) and time.monotonic() < ends:
                time.sleep(0.001)
            for _ in range(times):
                with suppress(ProcessLookupError):  # it has ended already
                    os.kill(pid, number)
                time.sleep(0.001)
        return Ended(self._answer()["status"], self._log.read_text())

    def _answer(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        return json.loads(self._server.stdout.readline())


@contextmanager
def warm_workers(folder: Path) -> Generator[WarmWorkers]:
    """Start the server; it ends with the block."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    try:
        yield WarmWorkers(server, folder)
    finally:
        server.kill()
        server.wait()


def _serve() -> None:
    import mini_trainer.osft_utils  # noqa: F401
    import transformers.models.qwen2  # noqa: F401

    import ft_assets.training.in_process.backend  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _work(order)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


def _work(order: dict[str, Any]) -> None:
    from ft_assets.training.worker import train
    from resources.launcher.child import run_worker

    log = os.open(order["stderr"], os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 2)
    os.dup2(log, 1)
    if order["kill"]:
        _kill_self(*order["kill"])
    status = run_worker(train, [order["plan"]])
    sys.stderr.flush()
    os._exit(status)


def _kill_self(wanted: str, containing: str, times: int) -> None:
    left = times

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if wanted and event != wanted:
            return
        if arguments and containing in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    _serve()
