"""Whether there are rows enough: ``min_new_rows``.

Rows are counted once per version of a drop, and no further than to the number that is asked for.
Each drop counts alone; when data accumulates, all complete drops that wait count together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from ft_assets.automation.new_data.accumulate import Changes
from ft_assets.automation.new_data.ledger import Asked
from ft_assets.automation.new_data.state import Watched

COUNTED = 10
"""Most drops whose rows one look counts."""


def enough(
    complete: Sequence[str],
    watched: Mapping[str, Watched],
    *,
    least: int,
    together: bool,
    let: Mapping[str, str],
    reruns: Collection[str],
    count: Callable[[str], int | None],
    now: float,
) -> tuple[list[str], dict[str, Watched]]:
    """The drops that may be asked for, and what is now known of all.

    Args:
        complete: the drops that could be asked for, oldest first.
        watched: what is known of them.
        least: rows that are enough; 0 lets all through.
        together: whether all drops count as one.
        let: the versions that were let through before, with others that have been asked for since.
        reruns: those that bring no row of their own: they run again for a drop before them, which
            had rows enough, and go through.
        count: the rows of a drop, at least up to ``least``; None where they cannot be read.
        now: seconds since the epoch.
    """
    after = dict(watched)
    if not least:
        return list(complete), after
    bring = [drop for drop in complete if drop not in reruns]
    for drop in _next_to_count(bring, after):
        rows = count(drop)
        found = {"uncounted": now} if rows is None else {"rows": rows, "uncounted": 0}
        after[drop] = after[drop].model_copy(update=found)
    all_rows = sum(after[drop].rows or 0 for drop in bring)
    through = [
        drop
        for drop in complete
        if drop in reruns
        or let.get(drop) == after[drop].token
        or _has_enough(after[drop], least, all_rows if together else None)
    ]
    for drop in through:
        after[drop] = after[drop].model_copy(update={"enough": True})
    return through, after


def _next_to_count(drops: Sequence[str], watched: Mapping[str, Watched]) -> list[str]:
    """Those without a count, and those that could not be read last: damaged ones block nobody."""
    uncounted = [drop for drop in drops if watched[drop].rows is None]
    return sorted(uncounted, key=lambda drop: watched[drop].uncounted)[:COUNTED]


def _has_enough(drop: Watched, least: int, all_rows: int | None) -> bool:
    if drop.rows is None:
        return False
    return drop.enough or (drop.rows if all_rows is None else all_rows) >= least


def reruns(changes: Changes, own: Mapping[str, str], asked: Mapping[str, Asked]) -> set[str]:
    """The drops of accumulated data that are only pending because of one before them.

    Args:
        changes: where accumulated data has changed.
        own: per pending drop the token of its version, without what changed before it.
        asked: what was asked for of the drops.
    """
    return {
        drop
        for drop, token in own.items()
        if (before := asked.get(drop)) is not None and changes.knows(token, before)
    }
