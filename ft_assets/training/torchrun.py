"""Running a GPU backend that starts torchrun itself and says little about how it ended.

Belongs here: what both GPU backends need around the call of training_hub's function: torchrun on
the path, signals, processes that are left over, an end that is explained, the outcome. Following
its metrics is ``following``; what to pass is the backend's own module.
"""

from __future__ import annotations

# psutil's process trees have no complete types.
# pyright: reportUnknownMemberType=false
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import psutil

from ft_assets.training.failures import NO_TORCHRUN, TAIL, explain, smaller_parts
from ft_assets.training.limits import COLLECTIVE_TIMEOUT, NODES_TIMEOUT, limit
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from ft_assets.training.profile_window import ProfileWindow
from ft_assets.training.token_rows import TokenCounts
from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.training.following import Follower

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (where both backends put their trigger)
_TRIGGER = "CHECKPOINT_TRIGGER_FILENAME"
_HERE = "ft_assets.training.dies_with_parent"
_DISTRIBUTION = {"mini-trainer": "rhai-innovation-mini-trainer"}


def prepare(plan: TrainPlan, run_dir: Path) -> None:
    """Make the environment that the backend and its processes read; before they are imported.

    Raises:
        UserError: there is no torchrun.
    """
    # Nodes share the run's folder: what two of them write may not be the same file.
    node = plan.parameters.get("node_rank", 0)
    own = f"-node-{node}" if node else ""
    folder = _bin(run_dir / f"bin{own}")
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Two runs on one machine would share the file that tells their processes to save and end; one
    # that is left over would end the next run at its first step.
    trigger = f"checkpoint_requested_{plan.fingerprint[:16]}"
    os.environ[_TRIGGER] = trigger
    (_SHARED_MEMORY / trigger).unlink(missing_ok=True)
    os.environ["HF_DATASETS_CACHE"] = str(run_dir / "tokens" / f"cache{own}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the base model lies in a folder
    if int(plan.parameters.get("nnodes", 1)) > 1:
        _limits()


def _limits() -> None:
    """How long torchrun's nodes, and NCCL's processes, wait for each other."""
    nodes = int(limit(os.environ, NODES_TIMEOUT).total_seconds())
    os.environ["PET_RDZV_CONF"] = f"timeout={nodes}"
    exchange = int(limit(os.environ, COLLECTIVE_TIMEOUT).total_seconds())
    # instructlab-training reads it; mini-trainer 0.9 always waits for three hours, though NCCL
    # itself notices much sooner that a connection was closed.
    os.environ.setdefault("INSTRUCTLAB_NCCL_TIMEOUT_MS", str(exchange * 1000))


def call(train: Callable[[], Any], plan: TrainPlan, log: Path) -> None:
    """Call the backend's function and explain an end that is not a good one.

    Args:
        train: calls training_hub's function.
        plan: what is trained; remedies name its numbers.
        log: where the backend keeps what its processes print.

    Raises:
        UserError: the run failed for a reason that its input can mend.
        RuntimeError: it failed for another reason.
        KeyboardInterrupt: it was told to end.
    """
    log.unlink(missing_ok=True)
    spare_processes()
    try:
        with _ends_with_its_processes():
            train()
    except (RuntimeError, ImportError, ValueError, AssertionError) as error:
        known = explain(
            f"{tail(log)}\n{error}",
            remedies=plan.memory_remedies or smaller_parts(plan.parameters),
            host_remedies=plan.host_memory_remedies,
        )
        if known is None:
            raise
        if known.again:
            raise RuntimeError(known.message) from error
        raise UserError(known.message) from error


def profiled(arguments: dict[str, Any], plan: TrainPlan, run_dir: Path) -> dict[str, Any]:
    """The arguments with a callback that records steps, where the plan asks for a profile."""
    arguments = dict(arguments)
    start, steps = arguments.pop("profiler_steps_start", 0), arguments.pop("profiler_steps", 0)
    if not steps:
        return arguments
    from ft_assets.training.torchrun_profiler import gpu_backend_profiler

    window = ProfileWindow(int(start), int(steps))
    return {
        **arguments,
        "callbacks": [gpu_backend_profiler(window, run_dir, backend=plan.backend)],
    }


_not_of_training: set[psutil.Process] = set()
"""Children that were there before the backend was called: whoever trains in its own process has
others, which are none of ours."""


def spare_processes() -> None:
    """Leave alone what runs now, whenever ``stop_processes`` is called; before a backend starts."""
    _not_of_training.clear()
    _not_of_training.update(psutil.Process().children())


def stop_processes() -> None:
    """End all processes that the backend started, and theirs, at once."""
    started = set(psutil.Process().children()) - _not_of_training
    theirs = [below for process in started for below in _below(process)]
    for process in [*started, *theirs]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it ended by itself


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def tail(log: Path) -> str:
    """The end of a log; empty where there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - TAIL))
        return stream.read().decode(errors="replace")


def outcome(
    plan: TrainPlan,
    base: Path,
    run_dir: Path,
    followed: Follower,
    counts: TokenCounts,
    *,
    model: Path,
    **settings: Any,
) -> TrainOutcome:
    """What the run left: its model's folder, its steps, its rows."""
    from ft_assets.provenance.record import installed

    epochs, seconds = int(plan.parameters["num_epochs"]), followed.seconds
    package = _DISTRIBUTION.get(plan.backend, plan.backend)
    packages = ("torch", "transformers", "training-hub", "flash-attn", package)
    return TrainOutcome(
        model_dir=str(model.relative_to(run_dir)),
        base_model_dir=str(base),
        steps=followed.steps,
        epochs=float(epochs),
        rows=counts.rows,
        rows_too_long=counts.rows_too_long,
        rows_untrained=counts.rows_untrained,
        rows_cut=counts.rows_cut,
        tokens=counts.tokens * epochs,
        trained_tokens=counts.trained_tokens * epochs,
        train_seconds=seconds,
        tokens_per_second=followed.tokens / seconds if followed.tokens and seconds else None,
        first_loss=followed.first_loss,
        last_loss=followed.last_loss,
        peak_memory_mib=followed.peak_memory_mib,
        resumed_from_step=followed.resumed_from,
        settings={**settings, **installed(packages)},
    )


def _bin(folder: Path) -> Path:
    """A folder with a ``torchrun`` that ends when this process does, however it ends.

    Without it, a training process that is killed leaves torchrun and its ranks behind, and a GPU
    that is full.
    """
    found = shutil.which("torchrun") or shutil.which(
        "torchrun", path=str(Path(sys.executable).parent)
    )
    if found is None:
        raise UserError(NO_TORCHRUN)
    if Path(found).parent == folder:
        return folder  # prepared before, in this process
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join([sys.executable, "-m", _HERE, found])
    script = folder / "torchrun"
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    return folder


@contextmanager
def _ends_with_its_processes() -> Generator[None]:
    """A signal to end ends the processes too, and this one as an interrupted one.

    A backend that saves its state on a signal puts its own handlers over these while it runs.
    """

    def end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop_processes()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread of a process gets signals
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
