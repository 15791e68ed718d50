"""Asks a warm host for a worker, and stands for it: ``python warm_client.py HOST MODULE PLAN``.

To whoever starts it, this process is the worker: it has the worker's output, hands signals on to
it, goes with it, and ends as it ends. Where the host has not imported yet, was started in another
environment, or is gone, it becomes ``python -m MODULE PLAN`` itself.

Belongs here: the standard library only, and little of it, as it starts before every worker.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import sys
from types import FrameType

LENGTH = struct.Struct("!Q")
"""Before a request: how many bytes of JSON follow."""

FORKED = b"f"
"""The answer when the host has forked a worker; anything else means: do it yourself."""

STATUS = struct.Struct("!i")
"""At the end: the worker's exit status, negative for a signal."""

_PR_SET_PDEATHSIG = 1


def ask(name: str, argv: list[str]) -> socket.socket | None:
    """Ask the host for a worker; None when it gives none."""
    request = {
        "argv": argv,
        "environment": dict(os.environ),
        "cwd": os.getcwd(),  # noqa: PTH109 (pathlib takes as long to import as all the rest)
    }
    body = json.dumps(request).encode()
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"\0{name}")
        socket.send_fds(connection, [LENGTH.pack(len(body))], [0, 1, 2])
        connection.sendall(body)
        if connection.recv(1) == FORKED:
            return connection
    except OSError:
        pass  # the host is gone
    connection.close()
    return None


def stand_for(connection: socket.socket) -> int:
    """Hand signals on until the worker has ended; its exit status, negative for a signal."""

    def hand_on(number: int, _: FrameType | None) -> None:
        connection.send(bytes([number]))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    answer = b""
    while len(answer) < STATUS.size:
        more = connection.recv(STATUS.size - len(answer))
        if not more:
            return -signal.SIGKILL  # the host was killed, and its workers with it
        answer += more
    return STATUS.unpack(answer)[0]


def end_as(status: int) -> int:
    """The exit status; a process that a signal ended ends here by the same signal."""
    if status >= 0:
        return status
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
    return 128 - status


def main(name: str, module: str, *arguments: str) -> int:
    """Run the worker, warm or not."""
    parent = int(os.environ.get("STEP_PROCESS", os.getppid()))  # child.PARENT
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the step went before the request took effect
        return 1
    connection = ask(name, [module, *arguments])
    if connection is None:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
    return end_as(stand_for(connection))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
