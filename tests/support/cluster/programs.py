"""Programs that tests start: found by name, on free ports, and never left behind.

Belongs here: starting, awaiting and ending a process. What the programs are: the modules beside it.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProgramMissingError(RuntimeError):
    """A program that a test needs is not on this machine; the message names it and the remedy."""


def find_program(name: str, folder: str | None = None, remedy: str = "") -> str:
    """The path of a program, in ``folder`` before PATH.

    Raises:
        ProgramMissingError: it is in neither.
    """
    path = os.pathsep.join([*([folder] if folder else []), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        raise ProgramMissingError(f"no `{name}`{remedy and ': '}{remedy}")
    return found


def start(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that dies with this process, even when this process is killed."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Not through setpriv: the process must be the program itself, so that it can be killed.
            preexec_fn=die_with_parent,  # noqa: PLW1509 (calls the kernel only)
        )


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def stop(process: subprocess.Popen[bytes], grace_seconds: float = 0.0) -> None:
    """End a process: with SIGTERM first when it gets a grace period, always for certain."""
    if grace_seconds and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    process.kill()
    process.wait()


def wait_until(
    is_ready: Callable[[], bool],
    what: str,
    *,
    seconds: float = 60.0,
    every: float = 0.1,
    process: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
) -> None:
    """Ask again and again; an error with the end of the log when the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_ready():
            return
        if process is not None and process.poll() is not None:
            break
        time.sleep(every)
    end = log.read_text(errors="replace")[-3000:] if log is not None and log.exists() else ""
    raise RuntimeError(f"{what} did not come in {seconds:.0f} s\n{end}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below those that the system gives to clients."""
    with ExitStack() as open_until_all_are_found:
        ports: list[int] = []
        while len(ports) < count:
            candidate = 12_000 + secrets.randbelow(8_000)
            probe = open_until_all_are_found.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            ports.append(candidate)
        return ports
