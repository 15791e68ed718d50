"""The waiting loop: a TrainJob from its creation to its end, through every state it can take.

Level triggered: each round looks at the job and its pods and acts on what is there, so that a state
that came and went between two looks, a broken watch or a restarted API server lose nothing. The
watch only says when to look again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from resources.launcher.process import ChildFailedError
from resources.launcher.trainjob import pods
from resources.launcher.trainjob.deadlines import DeadlinePassedError, Deadlines
from resources.launcher.trainjob.failures import still_waiting
from resources.launcher.trainjob.job import Job, Look
from resources.launcher.trainjob.request import TrainJobRequest
from resources.launcher.trainjob.state import (
    ENDED,
    State,
    running_since,
    state_of,
    waiting_since,
)

_SILENT_SECONDS = 15.0
"""A job without pods for so long has a controller that complains; its complaints are shown."""


@dataclass(frozen=True)
class Patience:
    """How often the loop looks and how long it waits for what should pass, in seconds."""

    look_every: float = 5.0
    stuck: float = 60.0
    """How long an image may fail to come, or a secret be missing."""


def follow(
    job: Job,
    first: Look,
    request: TrainJobRequest,
    *,
    patience: Patience,
    say: Callable[[str], None],
    seen: Callable[[Look], None],
) -> tuple[State, Look]:
    """Wait for the job's end; returns how it ended and what was seen last.

    Args:
        job: the job.
        first: what is known of it already.
        request: what it was made for: nodes and deadlines.
        patience: how often to look.
        say: told each change of state, and what holds the job up.
        seen: called after each look; what it raises ends the waiting.

    Raises:
        ChildFailedError: a deadline passed, or the pods cannot start.
    """
    look, before = first, None
    uid = first.uid
    clocks = Deadlines(request.queue_seconds, request.run_seconds, ran=first.ran_seconds)
    told, stuck_since = "", None
    while True:
        state = state_of(look, request.nodes)
        if look.uid != uid:  # deleted, and another one made in its place
            state = State.GONE
        now = time.monotonic()
        clocks.see(state, now, already=_already(state, look) if before is None else 0.0)
        if state is not before:
            if before is State.RUNNING and state not in ENDED:
                job.note_ran(clocks.ran(now))  # first: who reads that it is suspended may act on it
            say(_change(before, state, clocks.ran(now)))
            before = state
        seen(look)
        if state in ENDED:
            return state, look
        try:
            clocks.check(now)
        except DeadlinePassedError as error:
            raise still_waiting(job, look, str(error)) from error

        trouble = pods.hopeless(look.pods)
        stuck_since = None if trouble is None else stuck_since or now
        if stuck_since is not None and now - stuck_since >= patience.stuck:
            raise ChildFailedError(f"{job} cannot start: {trouble}")
        holding = trouble or _holding_up(job, look, state, clocks.waited(now))
        if holding and holding != told:
            say(f"waiting: {holding}")
            told = holding

        job.wait_for_change(look, patience.look_every)
        look = job.look()


def _already(state: State, look: Look) -> float:
    """How long the job has been in the state in which it was found, by the cluster's clock."""
    if state in ENDED:
        return 0.0
    since = running_since(look) if state is State.RUNNING else waiting_since(look)
    if since is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - since).total_seconds())


def _change(before: State | None, now: State, ran: float) -> str:
    if before is State.SUSPENDED and now not in ENDED:
        return f"resumed; {now.value}"
    if now is State.SUSPENDED and before is State.RUNNING:
        return f"suspended after {ran:.0f} s of running: something more urgent needs its nodes"
    return now.value


def _holding_up(job: Job, look: Look, state: State, waited: float) -> str | None:
    if state is State.QUEUED:
        return pods.holding_up(look.pods)
    if state is State.CREATED and waited >= _SILENT_SECONDS:
        complaints = job.warnings()
        return complaints[-1] if complaints else None
    return None
