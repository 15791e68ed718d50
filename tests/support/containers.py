"""Containers that hold this machine's own Python, for tests that need several machines.

No image is built or pulled: the root is an empty folder, into which the system's programs, the
virtual environment and the sources are mounted, to be read only. Each has an address of its own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[2]
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ssl", "/etc/alternatives")
_MOUNT_POINTS = ("etc", "proc", "sys", "dev", "tmp", "run", "root")
_LIMITS = ("nofile=20000:20000", "nproc=4096:4096")
"""podman's own are above what a machine may allow that is a container itself."""

PROGRAMS = ("podman", "runc")


def skip_without_podman() -> None:
    """Skip the test where a program is missing."""
    missing = [name for name in PROGRAMS if _found(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and the programs podman and runc; missing: {missing or 'root'}")


@contextmanager
def containers() -> Generator[Containers]:
    """A place for containers; none of them outlives the block."""
    number = secrets.randbelow(2**16)
    # podman's own folders may not have long names.
    with tempfile.TemporaryDirectory(prefix="ft-") as folder:
        there = Containers(Path(folder), f"ft{number:x}", f"10.{number >> 8}.{number & 255}")
        try:
            yield there
        finally:
            there.close()


class Containers:
    """Containers on a network of their own; :func:`containers` makes it and takes it away."""

    def __init__(self, folder: Path, network: str, subnet: str) -> None:
        self._folder = folder
        self._network = network
        self._subnet = subnet
        self._addresses: dict[str, str] = {}
        self._pids: dict[str, int] = {}
        """Asked for at the start: podman may take a second, and a test that kills has none."""
        places = {"root": "store", "runroot": "run", "network-config-dir": "networks"}
        self._podman = [
            "podman",
            "--runtime=runc",
            "--storage-driver=vfs",
            *(f"--{option}={folder / place}" for option, place in places.items()),
        ]
        self._call("network", "create", f"--subnet={subnet}.0/24", "--disable-dns", network)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        shared: Path,
    ) -> None:
        """Run a Python command; returns at once.

        Args:
            name: of the container, and its host name.
            command: what follows ``python``.
            environment: all there is; it knows those that were started before by their names.
            shared: a folder that is the same in all of them, and outside.
        """
        root = Path(tempfile.mkdtemp(prefix=name, dir=self._folder))
        address = self._addresses.get(name, f"{self._subnet}.{len(self._addresses) + 2}")
        for point in _MOUNT_POINTS:
            (root / point).mkdir(parents=True)
        (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        own = {str(path) for path in (sys.prefix, sys.base_prefix, _REPOSITORY)}
        mounts = [path for path in _SYSTEM if Path(path).exists()] + sorted(own)
        volumes = [f"--volume={path}:{path}:ro" for path in mounts]
        arguments = [
            *(f"--ulimit={limit}" for limit in _LIMITS),
            *(f"--env={key}={value}" for key, value in environment.items()),
            *(f"--add-host={host}:{there}" for host, there in self._addresses.items()),
            f"--network={self._network}",
            f"--ip={address}",
            *volumes,
            f"--volume={shared}:{shared}",
            f"--workdir={_REPOSITORY}",
        ]
        self._addresses[name] = address
        self._call("run", "--detach", f"--name={name}", f"--hostname={name}", *arguments,
                   "--rootfs", str(root), sys.executable, *command)  # fmt: skip
        self._pids[name] = int(self._call("inspect", "--format={{.State.Pid}}", name))

    def kill(self, name: str) -> None:
        """As a machine that loses power: at once, with all its processes."""
        os.kill(self._pids[name], signal.SIGKILL)

    def wait(self, name: str, seconds: float) -> int:
        """The exit status, when it has ended."""
        return int(self._call("wait", name, timeout=seconds))

    def log(self, name: str) -> str:
        """What it has written so far."""
        return self._call("logs", name)

    def remove(self) -> None:
        """All of them, running or not."""
        if self._addresses:
            self._call("rm", "--force", "--time=0", "--ignore", *self._addresses)

    def close(self) -> None:
        """The containers and their network."""
        self.remove()
        self._call("network", "rm", "--force", self._network)

    def _call(self, *arguments: str, timeout: float = 60) -> str:
        ended = subprocess.run(
            [*self._podman, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            check=False,
        )
        assert ended.returncode == 0, f"podman {' '.join(arguments[:2])}: {ended.stdout}"
        return ended.stdout.strip()


def _found(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
