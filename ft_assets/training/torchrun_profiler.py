"""Recording steps of a backend that trains in torchrun's workers, through training_hub's callbacks.

instructlab-training and mini-trainer rebuild a callback in every worker from the source of its
class, without its state, and call it from a thread of their own. So the window travels in a file
of the run folder, all threads are recorded, and the first and the last step may be cut: training
does not wait for a callback. Only the main process records. Only training processes import this.
"""

from __future__ import annotations

# training_hub has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnknownParameterType=false
# pyright: reportMissingTypeStubs=false
import json
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from training_hub import TrainingHubCallback, TrainingHubContext  # noqa: TID253

from ft_assets.training.profile_window import ProfileWindow

if TYPE_CHECKING:
    from ft_assets.training.in_process.recording import Recording

_WINDOW_FILE = "profile_window.json"


def gpu_backend_profiler(
    window: ProfileWindow, run_dir: Path, *, backend: str
) -> TrainingHubCallback:
    """What training_hub's functions take as ``callbacks``, to record a window.

    The window should end some steps before the run does: at the end of training a backend gives its
    callbacks ten seconds.

    Args:
        window: the steps; the plan has checked it against the steps of the run.
        run_dir: the run folder, which is also ``ckpt_output_dir``.
        backend: its name; at the beginning of a step instructlab-training gives the number of that
            step, the others how many steps are done.
    """
    ahead = 1 if backend == "instructlab-training" else 0
    partial = run_dir / f"{_WINDOW_FILE}.{uuid.uuid4().hex}"  # several nodes may write at once
    partial.write_text(json.dumps({**asdict(window), "ahead": ahead}))
    partial.replace(run_dir / _WINDOW_FILE)
    return TorchrunProfiler()


class TorchrunProfiler(TrainingHubCallback):
    """Rebuilt from this source alone in the worker: nothing outside the class is there."""

    def on_step_begin(self, context: TrainingHubContext) -> None:
        """A step begins."""
        from ft_assets.training.torchrun_profiler import step_begins

        step_begins(context.output_dir, context.step)

    def on_step_end(self, context: TrainingHubContext) -> None:
        """It has ended."""
        from ft_assets.training.torchrun_profiler import step_ends

        step_ends(context.output_dir, context.step)

    def on_train_end(self, context: TrainingHubContext) -> None:
        """The run has ended, perhaps within the window."""
        from ft_assets.training.torchrun_profiler import run_ends

        run_ends(context.output_dir, context.step)


def step_begins(run_dir: str, number: int) -> None:
    """Start with the first step of the window that this process does."""
    state = _state(run_dir)
    done = number - state.ahead
    inside = state.window.start <= done < state.window.end
    if inside and not state.recording.running and not state.recording.exists:
        state.recording.start(first_step=done + 1)


def step_ends(run_dir: str, done: int) -> None:
    """Write the profile after the last step of the window."""
    state = _state(run_dir)
    if state.recording.running and done >= state.window.end:
        state.recording.finish(last_step=done)


def run_ends(run_dir: str, done: int) -> None:
    """Write what there is of a run that was stopped in the window."""
    state = _state(run_dir)
    if state.recording.running:
        state.recording.finish(last_step=done)


@dataclass(frozen=True)
class _State:
    window: ProfileWindow
    ahead: int
    recording: Recording


@cache
def _state(run_dir: str) -> _State:
    from ft_assets.training.in_process.recording import Recording

    written = json.loads((Path(run_dir) / _WINDOW_FILE).read_text())
    return _State(
        window=ProfileWindow(start=int(written["start"]), steps=int(written["steps"])),
        ahead=int(written["ahead"]),
        recording=Recording(Path(run_dir), all_threads=True),
    )
