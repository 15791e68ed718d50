"""The entry point that ``workspace.yaml`` and ``[tool.dg]`` name."""

from __future__ import annotations

from ft_assets.long_lived import LongLived

with LongLived():
    from ft_assets.code_location import build_defs

    defs = build_defs()
