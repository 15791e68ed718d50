"""Many comparisons at once: what remains of each claim when all of them are to hold together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ft_assets.config.promotion import draws_needed, remedy_for_draws

if TYPE_CHECKING:
    from ft_assets.config.promotion import PromotionConfig


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


def too_few_draws(
    drawn: Sequence[tuple[float, bool]], *, comparisons: int, promotion: PromotionConfig
) -> str | None:
    """That the draws of the bootstrap are too few for so many comparisons, if so.

    They are where nothing could pass, and where a comparison failed although no draw spoke against
    it. It takes nothing from a candidate: one that passed everything is never told so.

    Args:
        drawn: of each comparison by the bootstrap, its p-value and whether it passed.
        comparisons: that were corrected together, with those by other tests.
        promotion: the rules.
    """
    if not drawn:
        return None
    draws, confidence = promotion.bootstrap_draws, promotion.confidence
    corrected = promotion.correction == "holm"
    least = 2 / (draws + 1)
    # The other tests' p-values may be smaller, and Holm multiplies the smallest by the most.
    hopeless = draws < draws_needed(confidence, comparisons=len(drawn) if corrected else 1)
    stopped = any(not passed and p_value <= least for p_value, passed in drawn)
    if not (hopeless or stopped):
        return None
    needed = draws_needed(confidence, comparisons=comparisons if corrected else 1)
    return (
        f"promotion.bootstrap_draws ({draws}) are too few to prove {comparisons} comparisons at "
        f"confidence {confidence:g}: {remedy_for_draws(needed)}"
    )
