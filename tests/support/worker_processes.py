"""The small worker, started as a step does it."""

from __future__ import annotations

import os

from resources.launcher.warm import QUIET

MODULE = "tests.support.small_worker"


def worker_environment(**more: str) -> dict[str, str]:
    """The environment in which the launcher starts a worker."""
    own = {name: v for name, v in os.environ.items() if not name.startswith("DAGSTER_PIPES")}
    return {**own, **QUIET, "STEP_PROCESS": str(os.getpid()), **more}
