"""Where state lies: one folder, ``FT_HOME``, with everything that outlives a run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg

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
    """
    if given := os.environ.get("DAGSTER_HOME"):
        return Path(given).expanduser().absolute()
    folder = ft_home() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    ours = next(
        file
        for file in (CHECKOUT / "dagster.yaml", CHECKOUT / "ft_assets" / "dagster.yaml")
        if file.exists()
    )
    shutil.copyfile(ours, folder / "dagster.yaml")
    return folder
