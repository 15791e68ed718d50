"""SIGTERM and SIGINT: a retry, an eviction or a cancelled run ends the training at a whole step.

A cancelled step sends SIGINT (Dagster's Pipes client), Kubernetes and a person SIGTERM. In a
terminal Ctrl-C arrives twice, from the terminal and from the step: the second one says no more
than the first. Who cannot wait sends SIGKILL, and loses at most what came after the last
checkpoint.
"""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.in_process.world import ALONE, World
from resources.launcher.child import Reporter

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption(TrainerCallback):
    """Whether the process was asked to end; as a callback it ends the training after a step.

    Before the first step there is nothing to keep, and a signal raises KeyboardInterrupt at once.
    After the last step the model is written all the same: that is the quickest way to an end.
    Of several processes all end after the same step, whichever was asked.
    """

    def __init__(self, report: Reporter, world: World = ALONE) -> None:
        self.report = report
        self.world = world
        self.requested = False
        self.stopped_at: int | None = None
        """The step after which the training was ended before its time."""
        self._training = False

    @contextmanager
    def listening(self) -> Generator[None]:
        """Take the signals while the block runs; elsewhere than in the main thread do nothing.

        Raises:
            KeyboardInterrupt: a signal came before the first step.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._asked) for number in _SIGNALS}
        try:
            yield
        except Exception as error:
            # C code may put an error of its own in the place of the interrupt that it met, as
            # numpy's tofile does when the signal comes between its calls back into Python.
            if self.requested and not self._training:
                raise KeyboardInterrupt from error
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self._training:
            raise KeyboardInterrupt(signal.Signals(number).name)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on the end of a step is waited for."""
        self._training = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint and for the end."""
        if self.world.any(self.requested) and state.global_step < state.max_steps:
            self.requested = True
            self.stopped_at = state.global_step
            control.should_save = True
            control.should_training_stop = True

    def raise_if_stopped(self, steps: int) -> None:
        """End the process as an interrupted one, when the training was ended before its time.

        Raises:
            KeyboardInterrupt: it was; the checkpoint is written.
        """
        if self.stopped_at is not None:
            self.report(
                "interrupted", self.stopped_at, steps, checkpoint=f"checkpoint-{self.stopped_at}"
            )
            raise KeyboardInterrupt(f"after step {self.stopped_at}")
