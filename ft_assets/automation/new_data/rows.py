"""Whether there are rows enough: ``min_new_rows``.

Rows are counted once per version of a drop, and no further than to the number that is asked for.
Each drop counts alone; when data accumulates, all complete drops that wait count together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ft_assets.automation.new_data.state import Watched

COUNTED = 10
"""Most drops whose rows one look counts."""


def enough(
    complete: Sequence[str],
    watched: Mapping[str, Watched],
    *,
    least: int,
    together: bool,
    count: Callable[[str], int | None],
) -> tuple[list[str], dict[str, Watched]]:
    """The drops that may be asked for, and what is now known of all.

    Args:
        complete: the drops that could be asked for, oldest first.
        watched: what is known of them.
        least: rows that are enough; 0 lets all through.
        together: whether all drops count as one.
        count: the rows of a drop, at least up to ``least``; None where they cannot be read.
    """
    after = dict(watched)
    if not least:
        return list(complete), after
    known: list[str] = []
    counted = 0
    for drop in complete:
        one = after[drop]
        if one.rows is None:
            if counted == COUNTED:
                continue
            counted += 1
            one = after[drop] = one.model_copy(update={"rows": count(drop)})
        if one.rows is not None:
            known.append(drop)
    all_rows = sum(after[drop].rows or 0 for drop in known)
    through = [
        drop
        for drop in known
        if after[drop].enough or (all_rows if together else after[drop].rows or 0) >= least
    ]
    for drop in through:
        after[drop] = after[drop].model_copy(update={"enough": True})
    return through, after
