"""What people read in the list of ticks: why a look asked for nothing, or what it asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ft_assets.automation.new_data.observe import DATASET
from ft_assets.automation.new_data.state import Watched
from ft_assets.config.automation import AutomationConfig
from resources.sources.partitions import natural_order

_NAMED = 3


def names(drops: Sequence[str]) -> str:
    """``drop-1, drop-2, drop-3 and 9 more``."""
    shown = ["the dataset" if drop == DATASET else drop for drop in drops]
    if len(shown) <= _NAMED:
        return ", ".join(shown)
    return f"{', '.join(shown[:_NAMED])} and {len(shown) - _NAMED} more"


def waiting(watched: Mapping[str, Watched], now: float, config: AutomationConfig) -> list[str]:
    """Why drops that are watched are not asked for yet; those that could be are left out."""
    said: list[str] = []
    unmarked = sorted((drop for drop, one in watched.items() if one.unmarked), key=natural_order)
    if unmarked:
        said.append(f"{names(unmarked)}: waits for the marker {config.marker}")
    few = sorted(
        (drop for drop, one in watched.items() if one.rows is not None and not one.enough),
        key=natural_order,
    )
    if few:
        rows = sum(watched[drop].rows or 0 for drop in few)
        said.append(f"{names(few)}: {rows} rows, waits for {config.min_new_rows}")
    young = {
        drop: left
        for drop, one in watched.items()
        if config.marker is None and (left := one.since + config.quiet - now) > 0
    }
    if young:
        drops = sorted(young, key=natural_order)
        said.append(f"{names(drops)}: complete when unchanged for {max(young.values()):.0f} s more")
    return said


def unreadable(drops: Mapping[str, str]) -> list[str]:
    """Drops that could not be looked at, with the first one's reason."""
    if not drops:
        return []
    ordered = sorted(drops, key=natural_order)
    return [f"{names(ordered)}: cannot be read: {drops[ordered[0]]}"]


def new_commits(models: Sequence[str], what: str) -> str:
    """Base models with a new commit, and what becomes of it."""
    noun, have = ("model", "has") if len(models) == 1 else ("models", "have")
    return f"The base {noun} {names(models)} {have} a new commit: {what}"


def nothing_new(looked_at: int, *, full: bool) -> str:
    """What there is to say when nothing is asked for and no drop waits for itself."""
    if full:
        return "As many drops wait as are watched at a time: the others come later"
    return f"Nothing new: looked at {looked_at} {'drop' if looked_at == 1 else 'drops'}"


def sentence(said: Sequence[str], otherwise: str) -> str:
    """One text of all that is to say."""
    return "; ".join(said) or otherwise
