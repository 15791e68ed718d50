"""Dagster's database migrations, read from disk once per test process.

Every new instance, and every run's own SQLite file, has Alembic read all of Dagster's revisions
anew, which these tests would do some hundreds of times. The files do not change meanwhile.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import ModuleType

from alembic import util

_read = util.load_python_file
_read_once = cache(_read)


def _load(dir_: str | os.PathLike[str], filename: str | os.PathLike[str]) -> ModuleType:
    # Not env.py, which is a program.
    load = _read_once if Path(dir_).name == "versions" else _read
    return load(dir_, filename)


def read_migrations_once() -> None:
    """From now on, in this process."""
    util.load_python_file = _load
