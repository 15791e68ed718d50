"""A step that follows a TrainJob, in a thread of a test or as a process that can be killed.

As a process: ``python -m tests.support.train_job_step NAME NAMESPACE PLAN``.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg

from resources.launcher.trainjob.following import Patience
from resources.launcher.trainjob.launcher import TrainJobLauncher
from resources.launcher.trainjob.request import TrainJobRequest

MODULE = "tests.support.node_worker"
FINGERPRINT = "f" * 64
_ROOT = Path(__file__).parent.parent.parent


def request(name: str, namespace: str, **changes: Any) -> TrainJobRequest:
    """A job of two nodes that run the tests' own worker."""
    given: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "fingerprint": FINGERPRINT,
        "nodes": 2,
        "procs_per_node": 1,
        "image": "none",
        "runtime": "training-hub",
        "python": sys.executable,
        "env": ({"name": "PYTHONPATH", "value": str(_ROOT)},),
        "resources": {"requests": {"cpu": "10m"}},
    }
    return TrainJobRequest(**{**given, **changes})


def launcher(asked: TrainJobRequest, **changes: Any) -> TrainJobLauncher:
    """A launcher that looks often."""
    given = {"patience": Patience(look_every=1.0, stuck=0.5), "log_every_seconds": 3600.0}
    return TrainJobLauncher(request=asked, **{**given, **changes})


class StepInThread:
    """A step at work; the test goes on beside it."""

    def __init__(
        self, launch: TrainJobLauncher, plan: Path, *, module: str = MODULE, **further: Any
    ) -> None:
        self.reports: list[Any] = []
        self.seconds = 0.0
        self._instance = dg.DagsterInstance.ephemeral()
        self._error: BaseException | None = None
        self._said: list[str] = []

        @dg.asset
        def made(context):
            self.seconds = launch.run(
                context, module=module, plan=plan, on_progress=self.reports.append, **further
            )
            return dg.MaterializeResult()

        def run() -> None:
            try:
                dg.materialize([made], instance=self._instance)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        """What the launcher said in the event log, of the job."""
        if self._thread.is_alive():
            self._said = self._read()
        return self._said

    def _read(self) -> list[str]:
        return [
            entry.user_message.split(": ", 1)[1]
            for run in self._instance.get_runs()
            for entry in self._instance.all_logs(run.run_id)
            if entry.user_message.startswith("TrainJob ")
        ]

    def wait_for(self, beginning: str, seconds: float = 30.0) -> None:
        """Until it has said something."""
        until = time.monotonic() + seconds
        while not any(line.startswith(beginning) for line in self.lines):
            assert self._thread.is_alive(), f"it ended: {self._error!r}; it said {self.lines}"
            assert time.monotonic() < until, f"it does not say {beginning!r}, but {self.lines}"
            time.sleep(0.05)

    def end(self, seconds: float = 60.0) -> None:
        """Until it is over; raises what it raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"it is still at it: {self.lines}"
        self._said = self._read()
        self._instance.dispose()
        if self._error is not None:
            raise self._error


def _main(name: str, namespace: str, plan: str) -> None:
    @dg.asset
    def made(context):
        launcher(request(name, namespace)).run(
            context, module=MODULE, plan=Path(plan), on_progress=lambda _: None
        )
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([made], instance=instance)


if __name__ == "__main__":
    _main(*sys.argv[1:])
