"""The share of the processor that the system lets a container have, however many cores it sees.

Belongs here: reading the quota of a control group, of version 1 and of version 2. Does not belong
here: how many threads follow from it (``machine.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MOUNT = "sys/fs/cgroup"
_MEMBERSHIP = "proc/self/cgroup"
_NUMBERS = 2
"""In cpu.max: the quota and its period. Version 1 has a file for each."""


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that this process may keep busy, by the tightest of its control groups.

    Args:
        root: of the file system; another one in tests.

    Returns:
        such as 2.0 or 0.5, or None where nothing limits it, or the system says nothing.
    """
    quotas = [_quota(folder) for folder in _groups(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the groups that bound the processor: this process's own and all above it."""
    for line in _text(root / _MEMBERSHIP).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            yield from _upwards(root / _MOUNT, path)
        elif "cpu" in controllers.split(","):  # version 1
            # "cpu,cpuacct" is mounted under that name, under "cpu" or under both.
            for name in {controllers, "cpu"}:
                yield from _upwards(root / _MOUNT / name, path)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """A group and those above it, up to the mount, which is the container's own group.

    Where the path is the host's and the container does not see that far, only the mount is there.
    """
    group = PurePosixPath(path.lstrip("/"))
    return (mount / folder for folder in (group, *group.parents))


def _quota(folder: Path) -> float | None:
    """Of one group: microseconds of computing, over the microseconds in which it may do them."""
    version_1 = _text(folder / "cpu.cfs_quota_us") + _text(folder / "cpu.cfs_period_us")
    said = (_text(folder / "cpu.max") or version_1).split()
    if len(said) != _NUMBERS or not all(part.isdigit() for part in said):
        return None  # no such group, or its quota is "max" or -1
    quota, period = map(int, said)
    return quota / period if period else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # no such group, or not for us to read
        return ""
