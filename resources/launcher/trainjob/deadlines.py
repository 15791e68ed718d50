"""How long a job may wait and how long it may run, counted apart, across suspensions: pure.

A job may wait, run, be suspended for a more urgent one, wait again and go on. Each wait has the
whole queueing time; the running time is the sum of all stretches in which all nodes ran. Time
before the first look (an earlier attempt of the step made the job) counts as the cluster's own
timestamps and the job's annotation tell it.
"""

from __future__ import annotations

from resources.launcher.trainjob.state import State


class DeadlinePassedError(Exception):
    """The job waited or ran too long; the message says which and what to change."""


class Deadlines:
    """The two clocks of one job; times are seconds of any steady clock."""

    def __init__(self, queue_seconds: float, run_seconds: float, *, ran: float = 0.0) -> None:
        """Begin to count.

        Args:
            queue_seconds: the longest single wait.
            run_seconds: the longest running time, all stretches together.
            ran: what earlier stretches took.
        """
        self._queue_seconds = queue_seconds
        self._run_seconds = run_seconds
        self._ran = ran
        self._state: State | None = None
        self._since = 0.0

    def see(self, state: State, now: float, *, already: float = 0.0) -> None:
        """The job is in this state now.

        Args:
            state: the state.
            now: the time.
            already: how long it was in it before, at the first look.
        """
        running, was_running = state is State.RUNNING, self._state is State.RUNNING
        if self._state is None:
            self._since = now - already
        elif running != was_running:
            if was_running:
                self._ran += now - self._since
            self._since = now
        self._state = state

    def ran(self, now: float) -> float:
        """How long it has run, all stretches together, in seconds."""
        return self._ran + (now - self._since if self._state is State.RUNNING else 0.0)

    def waited(self, now: float) -> float:
        """How long the present wait is, in seconds; 0 while it runs."""
        return 0.0 if self._state is State.RUNNING else now - self._since

    def check(self, now: float) -> None:
        """Refuse more time than there is.

        Raises:
            DeadlinePassedError: it is used up.
        """
        if self.waited(now) > self._queue_seconds:
            raise DeadlinePassedError(
                f"waited {self.waited(now):.0f} s for its nodes, longer than the "
                f"{self._queue_seconds:.0f} s that it may wait: free nodes or quota, ask for less, "
                "or raise the deadline for queueing"
            )
        if self.ran(now) > self._run_seconds:
            raise DeadlinePassedError(
                f"ran {self.ran(now):.0f} s, longer than the {self._run_seconds:.0f} s that it may "
                "run: raise the deadline for running; the next run goes on from the checkpoint"
            )
