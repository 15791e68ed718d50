"""The command ``ft``."""

from ft_assets.cli.main import main

__all__ = ["main"]
