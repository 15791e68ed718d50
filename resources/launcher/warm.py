"""Workers that start without importing: a warm host beside whoever runs steps on this machine.

Belongs here: when there is a host, and the command that asks it. The host: ``warm_host``.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from resources.launcher.child import PARENT

HOST = "FT_WARM_HOST"
"""Environment variable: the host that workers are asked from; set by us for what we start."""

WANTED = "FT_WARM_WORKERS"
"""Environment variable: ``0`` for workers that each import their libraries themselves."""

QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
"""Bars of libraries fill logs; progress is reported."""

_CLIENT = str(Path(__file__).with_name("warm_client.py"))
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd")


def worker_command(module: str, plan: Path) -> list[str]:
    """The command of a worker: through the warm host where there is one."""
    host = os.environ.get(HOST)
    if host is None:
        return [sys.executable, "-m", module, str(plan)]
    # Without the site's own start, which takes as long as all the client does.
    return [sys.executable, "-I", "-S", _CLIENT, host, module, str(plan)]


def can_be_warm() -> bool:
    """Whether workers may be forked here: on Linux, without a GPU.

    A library that looks for a GPU while it is imported leaves a driver behind that no fork can use.
    """
    return (
        sys.platform == "linux"
        and os.environ.get(WANTED) != "0"
        and HOST not in os.environ
        and not any(Path(device).exists() for device in _GPU_DEVICES)
    )


def start_warm_host(libraries: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """Start a host that goes with this process, and name it to all that is started from now on.

    It imports nothing before the first worker is asked for, which costs what it did without.

    Args:
        libraries: names of modules that workers import.

    Returns:
        The process; None where there is one already, or workers may not be forked.
    """
    if not can_be_warm():
        return None
    name = f"ft-assets-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen(64)
        command = [sys.executable, "-m", "resources.launcher.warm_host", str(listener.fileno())]
        process = subprocess.Popen(  # noqa: S603 (no shell, no word of a user's)
            [*command, *libraries],
            env={**os.environ, **QUIET, PARENT: str(os.getpid())},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # a worker that imports says it again
            start_new_session=True,  # the terminal's signals are for the step, which hands them on
        )
    os.environ[HOST] = name
    return process


@contextmanager
def warm_host(libraries: Sequence[str]) -> Generator[None]:
    """A host for the steps of this block; see ``start_warm_host``."""
    process = start_warm_host(libraries)
    try:
        yield
    finally:
        if process is not None:
            del os.environ[HOST]
            process.kill()
            process.wait()
