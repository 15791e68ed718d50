"""The callback that records a few optimizer steps of a Trainer."""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportIncompatibleMethodOverride=false
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.in_process.recording import Recording
from ft_assets.training.profile_window import ProfileWindow
from ft_assets.training.profiling.memory import load_memory


class ProfilerCallback(TrainerCallback):
    """Records the steps of a window into ``RUN_DIR/profile``.

    A run that is resumed within its window records the rest of it; a profile that is there already
    is kept. A run that ends early, in the window, leaves what was recorded.

    Args:
        window: the steps; counted from 0, as ``training.profiler_steps_start`` counts them.
        run_dir: the run folder.
    """

    def __init__(self, window: ProfileWindow, run_dir: Path) -> None:
        self.window = window
        self.recording = Recording(run_dir)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse a window that the run does not reach, before the first step."""
        self.window.check(state.max_steps)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start with the first step of the window that this process does."""
        inside = self.window.start <= state.global_step < self.window.end
        if inside and not self.recording.running and not self._kept():
            self.recording.start(first_step=state.global_step + 1)
        if self.recording.running:
            self.recording.begin_step(state.global_step + 1)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the profile after the last step of the window."""
        if self.recording.running:
            self.recording.end_step()
            if state.global_step >= self.window.end:
                self.recording.finish(last_step=state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write what there is of a run that was stopped in the window."""
        if self.recording.running:
            self.recording.finish(last_step=state.global_step)

    def _kept(self) -> bool:
        """Whether an earlier attempt of this run has written a profile of this window."""
        record = load_memory(self.recording.folder)
        window = self.window
        return (
            record is not None
            and window.start < record.first_step <= record.last_step <= window.end
        )

    def close(self) -> None:
        """Stop the recording of a run that failed; without effect after any other."""
        self.recording.abandon()
