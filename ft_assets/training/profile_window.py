"""Which optimizer steps are recorded."""

from __future__ import annotations

from dataclasses import dataclass

from resources.errors import UserError


@dataclass(frozen=True)
class ProfileWindow:
    """The steps ``[start, start + steps)``, counted from 0: ``start`` steps go by before it."""

    start: int
    steps: int

    @property
    def end(self) -> int:
        """Steps that are done when the recording ends."""
        return self.start + self.steps

    def check(self, total_steps: int) -> None:
        """Refuse a window that a run of ``total_steps`` optimizer steps does not reach.

        Raises:
            UserError: names both parameters and the steps of the run.
        """
        if self.start < 0 or self.steps < 1 or self.end > total_steps:
            raise UserError(
                f"training.profiler_steps_start: {self.start} and training.profiler_steps: "
                f"{self.steps} record after step {self.start} up to step {self.end}, but the run "
                f"has {total_steps} optimizer steps: choose profiler_steps_start from 0 and "
                f"profiler_steps from 1 so that their sum is at most {total_steps}"
            )
