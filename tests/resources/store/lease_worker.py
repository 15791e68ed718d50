"""A process that holds a lease, as tests of leases need one.

It is forked, which takes no time, and it says through a pipe that it waits, that it holds, and how
it ended. While it holds, it keeps a file that nobody else may have: made exclusively, so that a
second holder is seen at once.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

from resources.store import ArtifactStore, LeaseLostError, this_holder
from resources.store.resource import _store_at

NAME = "demo-model-all"
KEY = ["demo", "model"]


class Worker:
    """A process that holds the lease ``NAME``, or waits for it."""

    def __init__(self, store: ArtifactStore, witness: Path, how: str) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(store, witness, how, theirs))
        self.process.start()
        theirs.close()  # so that its end is heard here

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def hears(self) -> tuple[str, str]:
        """What it says next, and more about it."""
        return self.pipe.recv()

    def hears_all(self) -> list[str]:
        """All that it says until its end."""
        words = []
        try:
            while True:
                words.append(self.hears()[0])
        except EOFError:
            return words

    def go_on(self) -> None:
        self.pipe.send("go on")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _work(store: ArtifactStore, witness: Path, how: str, pipe: Connection) -> None:
    _store_at.cache_clear()  # a child shares no connection with its parent
    holder = this_holder(f"run-{os.getpid()}", "demo__model")
    try:
        with store.lease(
            NAME, holder, on_wait=lambda other: pipe.send(("waits", str(other)))
        ) as lease:
            if how == "publish":
                with store.publish(KEY, None) as draft:
                    draft.guard = lease.confirm
                    (draft.path / "model.bin").write_text(f"weights of {os.getpid()}")
                    pipe.send(("holds", ""))
                    pipe.recv()
            else:
                witness.touch(exist_ok=False)
                pipe.send(("holds", ""))
                if how == "in turn":
                    time.sleep(0.05)
                else:
                    pipe.recv()
                witness.unlink()
    except LeaseLostError as error:
        pipe.send(("lost", str(error)))
    else:
        pipe.send(("done", ""))
