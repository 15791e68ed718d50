"""A GPU backend's own metrics file, followed while it trains: ours are written, a bad run stopped.

The backend runs in processes that it starts itself; this process reads what they write. What a
line of a backend means is the backend's module's to say.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ft_assets.training.health import Finding, HealthMonitor, Planned, must_stop
from ft_assets.training.metrics import METRICS_FILE, StepMetrics, read_metrics
from ft_assets.training.plan import TrainPlan
from ft_assets.training.torchrun import spare_processes, stop_processes
from resources.errors import UserError
from resources.launcher.child import Reporter

_POLL_SECONDS = 2.0

Translate = Callable[[dict[str, Any]], dict[str, Any] | None]
"""A line of the backend as fields of StepMetrics, ``tokens`` and ``trained_tokens`` of the step
alone, and ``seconds``, its time. Without ``loss`` a line belongs to the step of the line before;
None says nothing of a step."""


class Follower:
    """Turns the lines of one backend's file into ours, one StepMetrics per step."""

    def __init__(
        self, theirs: Path, run_dir: Path, translate: Translate, plan: TrainPlan, report: Reporter
    ) -> None:
        spare_processes()  # it may have to end those of the backend, which begins after this
        self.steps = 0
        """The last step that is done, by whatever attempt."""
        self.total_steps: int | None = None
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.peak_memory_mib = 0.0
        self.resumed_from = 0
        """Steps that an earlier attempt had done."""
        self.seconds = 0.0
        """Time inside optimizer steps of this attempt."""
        self.tokens: int | None = 0
        """Tokens of this attempt; None where the backend does not count them."""
        self.stopped_by: Finding | None = None
        """Why the backend's processes were ended."""
        self._theirs = theirs
        self._ours = run_dir / METRICS_FILE
        self._translate = translate
        self._report = report
        self._on_unhealthy = plan.on_unhealthy
        self._health = HealthMonitor(Planned.of(plan.parameters))
        self._read = 0
        self._pending: dict[str, Any] = {}
        self._began = False
        self._forget()
        for metrics in read_metrics(self._ours):
            self._remember(metrics)

    def read(self, *, ended: bool = False) -> None:
        """Pass on what is new; a step waits for the lines that may still belong to it."""
        for line in self._fresh_lines():
            fields = self._translate(json.loads(line))
            if fields is None:
                continue
            if "loss" in fields and fields["step"] != self._pending.get("step"):
                self._pass_on()
                self._pending = fields
            elif self._pending:
                self._pending = {**self._pending, **fields, "step": self._pending["step"]}
        if ended:
            self._pass_on()

    def measured_at_the_end(self, held_out_loss: float) -> None:
        """Add to the last step a held-out loss that the backend measured after it."""
        *before, last = read_metrics(self._ours)
        last = last.model_copy(update={"held_out_loss": held_out_loss})
        self._write([*before, last])
        self._remember(last)

    def held_out_loss_of(self, choice: Literal["last", "best"]) -> float | None:
        """Of the last step, or the lowest; None where it was not measured."""
        return self._held_out if choice == "last" else self._lowest_held_out

    def _fresh_lines(self) -> list[bytes]:
        if not self._theirs.exists():
            return []
        with self._theirs.open("rb") as stream:
            stream.seek(self._read)
            fresh = stream.read()
        complete = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(complete)
        return complete.splitlines()

    def _pass_on(self) -> None:
        if not self._pending:
            return
        if not self._began:
            self._begin(self._pending["step"])
        metrics = StepMetrics(**self._with_sums(self._pending))
        self._pending = {}
        with self._ours.open("a") as stream:
            stream.write(metrics.line())
        self._report("train", metrics.step, metrics.total_steps or 0, **metrics.numbers())
        self._remember(metrics)
        finding = self._health.observe(metrics)
        if self.stopped_by is None and must_stop(finding, self._on_unhealthy):
            self.stopped_by = finding
            stop_processes()

    def _begin(self, step: int) -> None:
        """Drop our lines of steps that are done again."""
        self._began = True
        kept = [metrics for metrics in read_metrics(self._ours) if metrics.step < step]
        self._write(kept)
        self.resumed_from = step - 1
        self._forget()
        for metrics in kept:
            self._remember(metrics)
            self._health.observe(metrics)

    def _write(self, lines: list[StepMetrics]) -> None:
        partial = self._ours.with_name(METRICS_FILE + ".partial")
        partial.write_text("".join(metrics.line() for metrics in lines))
        partial.replace(self._ours)

    def _with_sums(self, step: dict[str, Any]) -> dict[str, Any]:
        """The fields of a step, with sums over the run and the time that is left."""
        fields = dict(step)
        seconds = float(fields.pop("seconds"))
        self.seconds += seconds
        tokens = fields.get("tokens")
        self.tokens = _plus(self.tokens, tokens)
        for name, so_far in self._sums.items():
            self._sums[name] = fields[name] = _plus(so_far, fields.get(name))
        left = fields["total_steps"] - fields["step"]
        return {
            **fields,
            "tokens_per_second": tokens / seconds if tokens and seconds else None,
            "eta_seconds": self.seconds / (fields["step"] - self.resumed_from) * left,
        }

    def _forget(self) -> None:
        """Begin the sums anew: what was measured at steps that are done again does not count."""
        self.steps = 0
        self.first_loss = None
        self.last_loss = None
        self.peak_memory_mib = 0.0
        self._sums: dict[str, int | None] = {"tokens": 0, "trained_tokens": 0}
        self._held_out: float | None = None
        self._lowest_held_out: float | None = None

    def _remember(self, metrics: StepMetrics) -> None:
        self.steps, self.total_steps = metrics.step, metrics.total_steps
        self.first_loss = metrics.loss if self.first_loss is None else self.first_loss
        self.last_loss = metrics.loss
        self.peak_memory_mib = max(self.peak_memory_mib, metrics.memory_mib or 0.0)
        self._sums = {"tokens": metrics.tokens, "trained_tokens": metrics.trained_tokens}
        self._held_out = metrics.held_out_loss
        if self._held_out is not None:
            lowest = self._lowest_held_out
            self._lowest_held_out = (
                self._held_out if lowest is None else min(lowest, self._held_out)
            )


@contextmanager
def following(
    theirs: Path,
    run_dir: Path,
    translate: Translate,
    plan: TrainPlan,
    report: Reporter,
    *,
    poll_seconds: float = _POLL_SECONDS,
) -> Generator[Follower]:
    """Follow ``theirs`` while the block runs the backend.

    What an earlier attempt wrote to ``metrics.jsonl`` is kept up to the first step of this one.

    Raises:
        UserError: the run was unhealthy and was stopped; whatever the backend made of that.
    """
    theirs.unlink(missing_ok=True)  # their log appends to an earlier run's
    follower = Follower(theirs, run_dir, translate, plan, report)
    stop = threading.Event()
    failed: list[BaseException] = []

    def follow() -> None:
        try:
            while not stop.wait(poll_seconds):
                follower.read()
            follower.read(ended=True)
        except BaseException as error:  # raised again in the main thread
            failed.append(error)
            stop_processes()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield follower
    finally:
        stop.set()
        thread.join()
        if follower.stopped_by is not None:
            raise UserError(str(follower.stopped_by)) from None
        if failed:
            raise failed[0]


def _plus(so_far: int | None, more: int | None) -> int | None:
    return None if so_far is None or more is None else so_far + more
