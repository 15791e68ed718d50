"""What a verdict needs and an evaluation lacks.

Belongs here: models, tasks and documents that are missing altogether. Does not belong here: samples
that do not fit together (``pairing.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_assets.config.promotion import HELD_OUT

if TYPE_CHECKING:
    from ft_assets.court.side import Side
    from ft_assets.court.verdict import Settings


def missing_from(
    candidate: Side, base: Side, champion: Side | None, settings: Settings
) -> list[str]:
    """What is missing from an evaluation as a whole, one sentence each."""
    sides = [side for side in (candidate, base, champion) if side is not None]
    reasons = [
        f"{side.called} was not evaluated: evaluate again" for side in sides if not side.present
    ]
    if champion is None and settings.champion_expected:
        reasons.append(
            "the model has a champion, but this evaluation does not hold it: evaluate again"
        )
    summaries = {id(side.summary): side for side in reversed(sides)}
    reasons += [
        "the evaluation is partial (evaluation.limit): nothing is registered on a part"
        if side is candidate
        else f"the evaluation of {side.called} is partial (evaluation.limit): evaluate it in full"
        for side in summaries.values()
        if side.summary.partial
    ]
    reasons += [
        f"{task} is required, but {side.called} has no results in it: evaluate again"
        for side in sides
        if side.present
        for task in _required(settings)
        if not _measured(side, task)
    ]
    return reasons


def _required(settings: Settings) -> list[str]:
    named = settings.promotion.required_tasks
    if named is not None:
        return named
    return [*([HELD_OUT] if settings.held_out else []), *settings.tasks]


def _measured(side: Side, task: str) -> bool:
    model = side.summary.models[side.model]
    if task == HELD_OUT:
        return model.held_out is not None and model.held_out.rows > 0
    # A tag, and a group without aggregation, have no results of their own: their tasks have.
    return all(model.tasks.get(part) for part in side.summary.leaves.get(task) or [task])
