"""Whether two evaluations asked the same, in the same way: only then their scores are compared.

An evaluation keeps a version of each task, which changes with its documents, its definition and how
answers are made. Belongs here: the reasons in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.cards.results import CANDIDATE, HELD_OUT
from ft_assets.comparing.behind import REPORT, SPLIT
from ft_assets.evaluation.answer_scores import METRICS as ANSWER_METRICS

if TYPE_CHECKING:
    from ft_assets.comparing.behind import Behind
    from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary

_GENERATION = ("held_out_generations", "max_new_tokens")
_OTHER_ROWS = "other held-out rows"


def why_not_comparable(
    task: str,
    metric: str,
    versions: tuple[Behind, Behind],
    summaries: tuple[EvaluationSummary | None, EvaluationSummary | None],
) -> str:
    """Why a metric of two versions is not compared, in a few words; empty where it is."""
    lost = [one.name for one, s in zip(versions, summaries, strict=True) if s is None]
    old, new = summaries
    if old is None or new is None:
        return f"the report of {' and of '.join(lost)} is not kept, so that nobody knows"
    if old.partial or new.partial:
        return "only a part of the documents was asked (evaluation.limit)"
    reason = _other_engine(task, old, new)
    if reason:
        return reason
    if task == HELD_OUT:
        return _other_held_out(metric, versions, old, new)
    for part in new.leaves.get(task) or old.leaves.get(task) or [task]:
        mine, theirs = old.task_versions.get(part), new.task_versions.get(part)
        if mine is None or mine != theirs:
            return f"another version of {part} ({mine or 'unknown'}, then {theirs or 'unknown'})"
    return ""


def _other_engine(task: str, old: EvaluationSummary, new: EvaluationSummary) -> str:
    for part in new.leaves.get(task) or [task]:
        engines = [one.backends.get(CANDIDATE, {}).get(part) for one in (old, new)]
        if engines[0] != engines[1]:
            return f"run by {engines[0] or 'unknown'}, then by {engines[1] or 'unknown'}"
    return ""


def _other_held_out(
    metric: str, versions: tuple[Behind, Behind], old: EvaluationSummary, new: EvaluationSummary
) -> str:
    sides = [summary.models[CANDIDATE].held_out for summary in (old, new)]
    if sides[0] is None or sides[1] is None:
        return "nothing was held out"
    said = [summary.task_versions.get(HELD_OUT) for summary in (old, new)]
    if said[0] is None or said[0] != said[1]:
        reason = _other_rows(versions, sides[0], sides[1])
        if reason:
            return reason
        if (said[0] or "").partition(":")[0] != (said[1] or "").partition(":")[0]:
            return "another release scored the held-out rows in another way"
        if metric in ANSWER_METRICS:
            return _other_answers(versions)
    if metric not in ANSWER_METRICS and sides[0].tokens != sides[1].tokens:
        return "the two models cut the rows into different tokens"
    return ""


def _other_rows(versions: tuple[Behind, Behind], old: HeldOutSummary, new: HeldOutSummary) -> str:
    """Why the held-out rows are other ones; empty where they are the same for certain."""
    digests = [_held_out_digest(one) for one in versions]
    if digests[0] is None or digests[0] != digests[1]:
        return _OTHER_ROWS
    if old.left_out_rows or new.left_out_rows:
        return (
            f"{_OTHER_ROWS}: {old.left_out_rows}, then {new.left_out_rows} were left out because a "
            "champion was trained on them"
        )
    return "" if old.rows == new.rows else _OTHER_ROWS


def _held_out_digest(one: Behind) -> str | None:
    split = one.kept.get(SPLIT)
    report: Any = {} if split is None else split.metadata.get("report") or {}
    return report.get("held_out_digest")


def _other_answers(versions: tuple[Behind, Behind]) -> str:
    made = [one.making(REPORT) for one in versions]
    configs = [each.config if each else {} for each in made]
    changed = [
        f"evaluation.{name}" for name in _GENERATION if configs[0].get(name) != configs[1].get(name)
    ]
    return f"{', '.join(changed) or 'the way answers are generated'} changed"
