"""Has imported what workers import, and forks them: ``warm_host LISTENER MODULE...``.

A worker imports for seconds before it does anything (bench/warm.py). This process imports when the
first worker is asked for, which then does without; each that follows is a fork that begins at
its first line. It is small again after a while without work.

Only libraries are imported here, never code of ours: a worker runs the code that is there when it
starts. A worker whose environment differs is refused, because libraries read theirs on import.

Belongs here: the host and the forks' start. What asks it: :mod:`~resources.launcher.warm_client`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from resources.launcher.child import PARENT, WARM, die_with_parent
from resources.launcher.warm_client import FORKED, LENGTH, STATUS

IDLE_SECONDS = 600.0
"""After which the imported libraries, and the memory that they hold, are given up."""

OWN = (
    *("DAGSTER_", "SF_PARTNER", "FT_", "AWS_", PARENT),  # SF_PARTNER: Dagster sets it for Snowflake
    *("PWD", "OLDPWD", "SHLVL", "_", "PYTEST_CURRENT_TEST"),
)
"""Variables, or how they begin, in which a worker may differ from the host: no library reads them
on import."""

_REFUSED = b"r"
_PEER = struct.Struct("3i")


@dataclass(frozen=True)
class Request:
    """A worker that somebody wants."""

    argv: list[str]
    """The module, and its arguments."""
    environment: dict[str, str]
    cwd: str
    output: list[int]
    """Descriptors of its stdin, stdout and stderr."""


def libraries_state() -> float:
    """What changes when a library is installed or removed."""
    return os.stat(sysconfig.get_path("purelib")).st_mtime  # noqa: PTH116


def differing(
    wanted: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]
) -> set[str]:
    """Variables for which a worker has to import its libraries itself.

    Args:
        wanted: the worker's environment.
        before: that of the host before it imported.
        after: and now. Some libraries set variables, and so they may have in who asks.
    """
    return {
        name
        for name in {*wanted, *before}
        if not name.startswith(OWN) and wanted.get(name) not in (before.get(name), after.get(name))
    }


def receive(connection: socket.socket) -> Request:
    """Read a request.

    Raises:
        EOFError: the client went away.
    """
    header, output, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
    header += _exactly(connection, LENGTH.size - len(header))
    body: Any = json.loads(_exactly(connection, LENGTH.unpack(header)[0]))
    return Request(body["argv"], body["environment"], body["cwd"], output)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = connection.recv(min(size, 65536))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def serve(listener: socket.socket, modules: Sequence[str]) -> Request:
    """Answer requests for as long as the owner lives; returns only in a forked worker."""
    started = dict(os.environ)
    imported: float | None = None
    while True:
        listener.settimeout(None if imported is None else IDLE_SECONDS)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            _begin_again()
        with connection:
            connection.settimeout(None)
            if not _is_ours(connection):
                continue
            try:
                request = receive(connection)
            except (EOFError, ConnectionError):
                continue
            warm = imported == libraries_state() and not differing(
                request.environment, started, os.environ
            )
            if warm and _fork(listener, connection):
                return request
            for descriptor in request.output:
                os.close(descriptor)
            if not warm:
                with suppress(ConnectionError):
                    connection.sendall(_REFUSED)
        if imported is None:
            import_all(modules)
            imported = libraries_state()
        elif imported != libraries_state():
            _begin_again()


def _is_ours(connection: socket.socket) -> bool:
    """Whether the same person asks: anybody on the machine can find the socket."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(peer)
    return user == os.getuid()


def import_all(modules: Sequence[str]) -> None:
    """Import what there is of them, once and for all forks."""
    for module in modules:
        with suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # the collector of a fork would copy every page that it looks at


def _begin_again() -> NoReturn:
    os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]])  # noqa: S606


def _fork(listener: socket.socket, connection: socket.socket) -> bool:
    """Fork a guard, and the guard a worker: True in the worker, False in the host."""
    if os.fork():
        return False
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    guard = os.getpid()
    worker = os.fork()
    if worker:
        _guard(worker, connection)
    os.environ[PARENT] = str(guard)
    return True


def _guard(worker: int, connection: socket.socket) -> None:
    """Hand signals to the worker, kill it when the client goes, tell the client how it ended."""
    os.environ[PARENT] = str(os.getppid())
    die_with_parent()
    connection.sendall(FORKED)
    ended = os.pidfd_open(worker)
    while True:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            break
        numbers = connection.recv(16)
        for number in numbers or [signal.SIGKILL]:
            with suppress(ProcessLookupError):
                os.kill(worker, number)
        if not numbers:
            break
    _, status = os.waitpid(worker, 0)
    with suppress(ConnectionError):
        connection.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def become(request: Request) -> None:
    """Be the worker, as ``python -m MODULE ARGUMENTS`` is."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGCHLD, signal.SIG_DFL),
    ):
        signal.signal(number, handler)
    guard = os.environ[PARENT]
    os.environ.clear()
    os.environ.update(request.environment | {PARENT: guard, WARM: "1"})
    os.chdir(request.cwd)
    for target, descriptor in enumerate(request.output):
        os.dup2(descriptor, target)
        os.close(descriptor)
    module, *arguments = request.argv
    sys.argv[:] = [module, *arguments]
    sys.path[0] = request.cwd
    for name in [name for name in sys.modules if name.split(".")[0] == "resources"]:
        del sys.modules[name]  # the host's own may be older than the worker
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    """Serve; in a fork, work."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: workers get their own
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    become(serve(listener, sys.argv[2:]))


if __name__ == "__main__":
    main()
