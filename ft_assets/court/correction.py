"""Many comparisons at once: what remains of each claim when all of them are to hold together."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    A claim whose adjusted value is at most 0.05 may be made together with all others of which that
    is true: the chance that any of them is wrong is at most 5 %, whatever they have in common
    (S. Holm, A simple sequentially rejective multiple test procedure, 1979).
    """
    count = len(p_values)
    adjusted = [1.0] * count
    highest = 0.0
    for rank, place in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
