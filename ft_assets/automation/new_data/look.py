"""What one look decides, from what was seen, what has been asked for, and the time. No input here.

A version is complete when its marker is there, or, without markers, when two looks some time apart
find the same one: by our clock, which need not agree with the source's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ft_assets.automation.new_data.ledger import Asked
from ft_assets.automation.new_data.state import SHORT, WATCHED, Watched
from ft_assets.config.automation import AutomationConfig
from resources.sources.drops import DropVersion
from resources.sources.partitions import natural_order

LOOKS = 100
"""Most watched drops that one look asks the source about, one by one."""
AWAITED = 100
"""Most drops whose run has been asked for and not been seen."""
ASKS = 25
"""Most runs that one look asks for: the daemon makes them one after the other."""


@dataclass(frozen=True)
class Seen:
    """A drop as the source shows it now."""

    version: DropVersion
    token: str
    """What the ledger compares: the version's own token, and what else the drop's run reads."""


@dataclass(frozen=True)
class Noticed:
    """What becomes of the drops that were seen."""

    watched: dict[str, Watched]
    awaited: list[str]
    """Whose run has been asked for and not been seen, and whose data is there."""
    full: bool
    """Whether there was no room for all: the same page must be listed again."""


def at(watched: Mapping[str, Watched], now: float) -> dict[str, Watched]:
    """The same, for a clock that may have been put back: nothing was seen after now."""
    return {
        drop: before.model_copy(
            update={
                "since": min(before.since, now),
                "looked": min(before.looked, now),
                "uncounted": min(before.uncounted, now),
            }
        )
        for drop, before in watched.items()
    }


def notice(
    watched: Mapping[str, Watched],
    seen: Mapping[str, Seen | None],
    asked: Mapping[str, Asked],
    now: float,
    marker: str | None = None,
) -> Noticed:
    """Watch the drops whose version was not asked for; None among ``seen``: nothing is there."""
    after, awaited, full = dict(watched), list[str](), False
    for drop, found in seen.items():
        standing = asked.get(drop)
        if standing is not None and not standing.seen and found is not None:
            after.pop(drop, None)
            if len(awaited) < AWAITED:
                awaited.append(drop)
            else:
                full = True
        elif found is None or (standing is not None and standing.token == found.token):
            after.pop(drop, None)
        elif drop in after or _has_room(after):
            after[drop] = _again(after.get(drop), found.version, now, marker)
        else:
            full = True
    return Noticed(after, awaited, full)


def _again(before: Watched | None, version: DropVersion, now: float, marker: str | None) -> Watched:
    token, unmarked = version.token[:SHORT], marker is not None and not version.marked
    if before is None or before.token != token:
        return Watched(token=token, since=now, looked=now, unmarked=unmarked)
    return before.model_copy(update={"looked": now, "unmarked": unmarked})


def _has_room(watched: dict[str, Watched]) -> bool:
    """Room for one more: the drop that has been incomplete for longest goes, the sweep finds it."""
    if len(watched) < WATCHED:
        return True
    stuck = [drop for drop, one in watched.items() if one.stuck]
    if not stuck:
        return False
    del watched[min(stuck, key=lambda drop: watched[drop].since)]
    return True


def due(watched: Mapping[str, Watched], now: float, config: AutomationConfig) -> list[str]:
    """The drops that may be complete now, those first that were not looked at for longest."""
    ripe = [
        drop
        for drop, one in watched.items()
        if (
            not (one.unmarked and one.looked == now)  # it was just seen without its marker
            if config.marker is not None
            else one.since + config.quiet <= now
        )
    ]
    ripe.sort(key=lambda drop: (watched[drop].looked, natural_order(drop)))
    return ripe[:LOOKS]


def complete(
    watched: Mapping[str, Watched],
    seen: Mapping[str, Seen | None],
    now: float,
    config: AutomationConfig,
) -> list[str]:
    """The drops that were just seen and are complete, the oldest in natural order first."""
    ripe = [
        drop
        for drop, found in seen.items()
        if found is not None
        and drop in watched
        and (
            found.version.marked
            if config.marker is not None
            else watched[drop].since + config.quiet <= now
        )
    ]
    return sorted(ripe, key=natural_order)


def next_ask(drop: str, seen: Mapping[str, Seen | None], asked: Mapping[str, Asked]) -> Asked:
    """What is asked for next of a drop that is complete."""
    found, before = seen[drop], asked.get(drop)
    assert found is not None
    return Asked(1 if before is None else before.number + 1, found.token, seen=False)
