"""Heavy work in a child process of the step, through Dagster Pipes.

The step stays light and responsive, metrics arrive while the child works, a cancelled run ends the
child, and an exit is explained: a child that the kernel killed did not fail for nothing.
"""

from __future__ import annotations

import json
import os
import signal
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.pipes.context import PipesMessageHandler
from dagster._core.pipes.utils import PipesTempFileMessageReader
from dagster._utils.warnings import PreviewWarning
from dagster_pipes import PipesParams

from resources.errors import UserError
from resources.launcher.child import ERROR_FILE, FINISHED, INTERRUPTED_EXIT, PARENT
from resources.launcher.warm import QUIET, worker_command

Progress = Mapping[str, Any]
"""One report of the child: phase, done, total, time, and the numbers that go with them.

Numbers may be NaN or infinite."""


class ChildFailedError(Exception):
    """The child ended in a way that is nobody's bad input; the message says how."""


class ProcessLauncher(dg.ConfigurableResource[Any]):
    """Runs ``python -m MODULE PLAN`` beside the step."""

    log_every_seconds: float = 5.0
    """Least time between two lines of progress in the event log."""
    termination_timeout_seconds: float = 60.0
    """How long a cancelled child may take to write what it has."""

    def run(
        self,
        context: dg.AssetExecutionContext,
        *,
        module: str,
        plan: Path,
        on_progress: Callable[[Progress], None],
        memory_remedies: Sequence[str] = (),
    ) -> float:
        """Run a worker to its end; returns how long its process worked, in seconds.

        Args:
            context: of the step; its event log gets a line every few seconds.
            module: the worker, a module with a main.
            plan: its plan file; ``error.json`` beside it says why it refused.
            on_progress: called with every report of the child, in a thread of this process.
            memory_remedies: what to change when the child was killed for want of memory.

        Raises:
            UserError: the worker refused its input.
            ChildFailedError: it ended otherwise than well.
        """
        log = EveryFewSeconds(context, self.log_every_seconds)
        seconds = 0.0

        def listen(progress: Progress) -> None:
            nonlocal seconds
            if progress["phase"] == FINISHED:
                seconds = float(progress["seconds"])
                return
            numbers = {name: read_number(value) for name, value in progress.items()}
            on_progress(numbers)
            log(numbers)

        client = dg.PipesSubprocessClient(
            message_reader=_ProgressReader(listen),
            termination_timeout_seconds=self.termination_timeout_seconds,
        )
        command = worker_command(module, plan)
        environment = {**QUIET, PARENT: str(os.getpid())}
        try:
            with warnings.catch_warnings():
                # Dagster's own reader uses a part of its interface that it calls a preview.
                warnings.simplefilter("ignore", PreviewWarning)
                client.run(context=context, command=command, env=environment)
        except DagsterPipesExecutionError as error:
            refusal = plan.parent / ERROR_FILE
            if refusal.exists():
                raise UserError(json.loads(refusal.read_text())["message"]) from None
            raise ChildFailedError(_explain(str(error), memory_remedies)) from error
        return seconds


class _ProgressReader(PipesTempFileMessageReader):
    """Hands the child's reports on as they come, instead of keeping them for the end."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        super().__init__()
        self._on_progress = on_progress

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Generator[PipesParams]:
        """Divert custom messages; all others go Dagster's way."""
        handle = handler.handle_message

        def divert(message: Any) -> None:
            if message["method"] == "report_custom_message":
                self._on_progress(message["params"]["payload"])
            else:
                handle(message)

        handler.handle_message = divert
        with super().read_messages(handler) as params:
            yield params


class EveryFewSeconds:
    """Writes progress to the event log: each new phase, then at most one line per interval."""

    def __init__(self, context: dg.AssetExecutionContext, seconds: float) -> None:
        self._context = context
        self._seconds = seconds
        self._phase = ""
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write it, if it is time."""
        now = time.monotonic()
        finished = progress["total"] and progress["done"] >= progress["total"]
        if progress["phase"] != self._phase or now >= self._next or finished:
            self._phase = str(progress["phase"])
            self._next = now + self._seconds
            self._context.log.info(describe(progress))


def read_number(value: object) -> object:
    """A value of a report; numbers that are not finite come as texts, as JSON has none."""
    return float(str(value)) if value in ("NaN", "Infinity", "-Infinity") else value


def describe(progress: Progress) -> str:
    """One line for people: the phase, how far it is, and its numbers."""
    of = f"/{progress['total']:g}" if progress["total"] else ""
    hidden = ("phase", "done", "total", "time", "step", "total_steps")
    numbers = [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in progress.items()
        if name not in hidden
    ]
    return f"{progress['phase']} {progress['done']:g}{of}" + (
        f": {', '.join(numbers)}" if numbers else ""
    )


def _explain(message: str, memory_remedies: Sequence[str]) -> str:
    """What an exit status most likely means."""
    code = (
        int(message.rpartition(" ")[2]) if message.rpartition(" ")[2].lstrip("-").isdigit() else 1
    )
    if code == -signal.SIGKILL:
        remedy = "; or ".join(memory_remedies) or (
            "lower training.max_tokens_per_gpu or max_seq_len, or give the step more memory "
            "(kubernetes.memory)"
        )
        return (
            "the training or evaluation process was killed (SIGKILL), most likely because the host "
            f"ran out of memory: {remedy}"
        )
    if code == INTERRUPTED_EXIT:
        return (
            "the process was asked to end (SIGTERM or SIGINT) and did; a training goes on from its "
            "checkpoint when the step runs again"
        )
    if code < 0:
        return f"the process was ended by signal {signal.Signals(-code).name}"
    return f"the process ended with status {code}: its traceback is in the step's stderr"
