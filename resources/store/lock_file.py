"""A lock of this host: a file that one process at a time has locked, and that says who it is.

The kernel gives it back when the process is gone, however that ended, so that there is no time to
be over. It holds among the processes of one host; on a folder from a network, as far as its file
system's locks go: a store in a bucket has leases instead (``s3_lease.py``).
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError

from resources.store.lease import Holder, lease_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
    from typing import IO


class FileLock:
    """A lock that is held: for as long as the process lives, nobody else has it."""

    def check(self) -> None:
        """It cannot be lost."""

    def confirm(self) -> None:
        """It cannot be lost."""


@contextmanager
def file_lock(
    folder: Path, name: str, holder: Holder, on_wait: Callable[[Holder | None], None]
) -> Generator[FileLock]:
    """Hold the lock ``name`` of a folder; waits while another process does.

    ``on_wait`` is called once when another one holds it, with who that is where it is known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{lease_name(name)}.lock").open("a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait(_holder_in(lock))
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(holder.model_dump_json().encode())
        lock.flush()
        yield FileLock()
        lock.truncate(0)


def _holder_in(lock: IO[bytes]) -> Holder | None:
    """Who holds it; None when it is just being written."""
    lock.seek(0)
    try:
        return Holder.model_validate_json(lock.read())
    except ValidationError:
        return None
