"""Where steps run: in the run's process, in one process each, or in a pod each.

The environment says so, once, and no code changes: ``FT_EXECUTOR``.
"""

from __future__ import annotations

import os

import dagster as dg

from resources.errors import UserError

NAMES = ("in_process", "multiprocess", "k8s")


def executor() -> dg.ExecutorDefinition:
    """The executor that ``FT_EXECUTOR`` names; in process without it: a process costs seconds.

    Raises:
        UserError: it names none.
    """
    name = os.environ.get("FT_EXECUTOR", "in_process")
    if name == "in_process":
        return dg.in_process_executor
    if name == "multiprocess":
        return dg.multiprocess_executor
    if name == "k8s":
        from ft_assets.cluster.k8s_executor import k8s_executor

        return k8s_executor
    raise UserError(f"FT_EXECUTOR is {name!r}: set one of {', '.join(NAMES)}")


def on_kubernetes() -> bool:
    """Whether each step gets a pod of its own, with what its ``kubernetes`` block asks for."""
    return os.environ.get("FT_EXECUTOR") == "k8s"
