"""The images, built once for all tests and all test processes, and removed at the end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.images.image_workshop import IMAGES, Workshop, missing


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Generator[Workshop]:
    """The CPU images, built. Test processes share them: the first builds, the last removes."""
    if why := missing():
        pytest.skip(f"no container images: {why}")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    users = shared / "image-users"
    workshop = Workshop(shared / "image-workshop")
    with _alone(shared):
        users.mkdir(exist_ok=True)
        (users / str(os.getpid())).touch()
        if not (workshop.root / "built").exists():
            _build_all(workshop)
            (workshop.root / "built").touch()
    yield workshop
    with _alone(shared):
        (users / str(os.getpid())).unlink()
        if not any(users.iterdir()):
            workshop.clear()


def _build_all(workshop: Workshop) -> None:
    try:
        workshop.prepare()
        for image in IMAGES:
            workshop.build(image)
    except BaseException:
        workshop.clear()
        raise


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    with (folder / "image-workshop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
