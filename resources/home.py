"""Where state lies: one folder, ``FT_HOME``, with everything that outlives a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from resources.errors import UserError
from resources.store.lease import Holder
from resources.store.lock_file import file_lock

CHECKOUT = Path(__file__).resolve().parent.parent
"""The repository, when the packages run out of one; elsewhere the folder they are installed in."""


class Home(dg.ConfigurableResource[Any]):
    """The folders that steps work in."""

    path: str
    """``FT_HOME``."""

    @property
    def runs(self) -> Path:
        """Run folders of training and evaluation, one per fingerprint."""
        return Path(self.path) / "runs"

    @property
    def models(self) -> Path:
        """Prepared base models, one per digest."""
        return Path(self.path) / "models"

    @property
    def scratch(self) -> Path:
        """Private folders of steps at work."""
        return Path(self.path) / "scratch"

    @contextmanager
    def exclusively(
        self, name: str, holder: Holder, on_wait: Callable[[Holder | None], None]
    ) -> Generator[None]:
        """Hold the lock ``name`` of this home: two runs of one asset would share a run folder.

        It holds on one host. Where pods on several share the home, the artifact store is in a
        bucket, whose ``lease`` is held instead. The lock is gone with the process that holds it,
        however that ends. ``on_wait`` is called when another one holds it.
        """
        with file_lock(Path(self.path) / "locks", name, holder, on_wait):
            yield


def ft_home() -> Path:
    """``FT_HOME``, or ``.ft`` in the repository, or the user's data folder without one."""
    if given := os.environ.get("FT_HOME"):
        return Path(given).expanduser().absolute()
    if (CHECKOUT / "workspace.yaml").exists():
        return CHECKOUT / ".ft"
    return Path.home() / ".local" / "share" / "ft-assets"


def dagster_home() -> Path:
    """The folder of Dagster's instance, with the repository's ``dagster.yaml`` in it.

    ``DAGSTER_HOME`` wins: a deployment brings its own.

    Raises:
        UserError: ``DAGSTER_HOME`` names no folder, or ours cannot be made.
    """
    if given := os.environ.get("DAGSTER_HOME"):
        folder = Path(given).expanduser().absolute()
        if not folder.is_dir():
            raise UserError(f"DAGSTER_HOME names {given!r}, which is not a folder: create it")
        return folder
    folder = ft_home() / "dagster"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}): set FT_HOME to a folder that "
            "this user can write to"
        ) from error
    _copy_if_changed(shipped("dagster.yaml"), folder / "dagster.yaml")
    return folder


def shipped(name: str) -> Path:
    """A file of the repository's top folder; where the packages are installed, it is in ours."""
    places = (CHECKOUT / name, CHECKOUT / "ft_assets" / name)
    return next(file for file in places if file.exists())


def _copy_if_changed(source: Path, target: Path) -> None:
    """In one act: another process may be reading its settings."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.replace(target)
