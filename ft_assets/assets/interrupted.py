"""Ending a step whose lease is lost while it is at work.

Belongs here: how another thread ends the work of the one that makes the asset, and what the run is
told then. Does not belong here: the lease, which is the artifact store's.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import dagster as dg

from resources.store import LeaseLostError


@contextmanager
def ending_when_lost() -> Generator[Callable[[LeaseLostError], None]]:
    """Give what ends the block from another thread; the step then fails, and may be tried again.

    The block is interrupted as a cancelled run is, so that its child process is ended too. Python
    can interrupt the main thread alone: a block in another one goes on until it wants to publish.
    """
    lost: list[LeaseLostError] = []
    worker = threading.get_ident()
    can_be_interrupted = threading.main_thread() is threading.current_thread()

    def end(error: LeaseLostError) -> None:
        lost.append(error)
        if can_be_interrupted:
            signal.pthread_kill(worker, signal.SIGINT)  # also out of waiting for its child

    try:
        yield end
    except LeaseLostError as error:
        raise dg.Failure(description=str(error)) from error
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interrupt:
        if not lost:
            raise
        raise dg.Failure(description=str(lost[0])) from interrupt
