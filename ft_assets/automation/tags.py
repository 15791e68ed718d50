"""The tags of automatic runs, by which they are found in the UI, counted and known again."""

from __future__ import annotations

from ft_assets.assets.run_tags import DROP, GPU_HOURS

__all__ = ["AUTOMATIC", "DROP", "GPU_HOURS", "TOKEN"]

AUTOMATIC = "ft/automatic"
"""The pipeline whose sensor or schedule asked for the run."""
TOKEN = "ft/token"  # noqa: S105 - of a data version
"""The version of the data that it was asked for, as its source shows it."""
