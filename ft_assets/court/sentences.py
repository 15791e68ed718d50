"""The verdict in words: one sentence per reason, with the numbers in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_assets.court.demands import forgetting_tasks
from ft_assets.court.verdict import CHECKS, CheckVerdict, Comparison, Overrule, Settings

if TYPE_CHECKING:
    from ft_assets.config.promotion import MetricRule, PromotionConfig
    from ft_assets.court.paired_tests import TestResult
    from ft_assets.court.pairing import Pairs

_OWNERS = {"base": "the base model's", "champion": "the champion's"}
_SHOWN = 3
"""Reasons that a summary of many names; the rest is counted."""


def compared(
    comparison: Comparison,
    result: TestResult,
    promotion: PromotionConfig,
    *,
    higher_is_better: bool,
) -> str:
    """The outcome of one comparison."""
    name, owner = f"{comparison.task}/{comparison.metric}", _OWNERS[comparison.against]
    worse = result.high < 0
    if comparison.rule == "better":
        claim = f"is better than {owner}"
        if not comparison.passed:
            claim = f"is worse than {owner}" if worse else f"is not proven better than {owner}"
    else:
        within = f"{'fall' if higher_is_better else 'rise'} by more than {comparison.margin:g}"
        claim = f"did not {within} against {owner}"
        if not comparison.passed:
            claim = f"may {within} against {owner}"
            if result.high < -(comparison.margin or 0):
                claim = f"{'fell' if higher_is_better else 'rose'}{within[4:]} against {owner}"
    return f"{name} {claim}: {_numbers(comparison, promotion)}"


def _numbers(comparison: Comparison, promotion: PromotionConfig) -> str:
    interval = ""
    if comparison.low is not None and comparison.high is not None:
        interval = (
            f", {promotion.confidence * 100:g} % interval {comparison.low:+.4f} to "
            f"{comparison.high:+.4f}"
        )
    corrected = ""
    if promotion.correction == "holm" and comparison.p_adjusted != comparison.p_value:
        corrected = f", {comparison.p_adjusted:.3g} after Holm"
    return (
        f"{comparison.candidate:.4f} against {comparison.other:.4f} (difference "
        f"{comparison.difference:+.4f}{interval}; p = {comparison.p_value:.3g}{corrected}; "
        f"{comparison.samples} documents)"
    )


def too_few(name: str, documents: int, least: int) -> str | None:
    """That a metric has fewer documents than ``promotion.min_samples``, if so."""
    if documents >= least:
        return None
    return (
        f"{name}: {documents} documents are fewer than promotion.min_samples ({least}): hold "
        "more out, or lower min_samples"
    )


def threshold(
    task: str, metric: str, rule: MetricRule, own: Pairs | None, least: int
) -> list[Comparison]:
    """The candidate's own value beside the thresholds of a rule.

    Args:
        task: of the metric.
        metric: which.
        rule: with or without thresholds.
        own: the candidate's scores; None where there are none, or some are not finite.
        least: documents that a value must be of.
    """
    found: list[Comparison] = []
    name = f"{task}/{metric}"
    documents = 0 if own is None else len(own)
    few = None if own is None else too_few(name, documents, least)
    value = None if own is None or few else own.candidate_value
    for limit, kind in ((rule.min, "min"), (rule.max, "max")):
        if limit is None:
            continue
        if few:
            passed, reason = False, few
        elif value is None:
            passed, reason = False, f"{name} has no finite value, but a threshold: {kind} {limit:g}"
        else:
            passed = value >= limit if kind == "min" else value <= limit
            side = {"min": ("at least", "below"), "max": ("at most", "above")}[kind]
            reason = (
                f"{name} is {value:.4f}, {side[0 if passed else 1]} the {kind} of {limit:g} "
                f"({documents} documents)"
            )
        found.append(
            Comparison(
                check="beats_base",
                task=task,
                metric=metric,
                against="threshold",
                rule="min" if kind == "min" else "max",
                candidate=value,
                other=limit,
                samples=documents,
                passed=passed,
                reason=reason,
            )
        )
    return found


def checks_of(
    incomplete: list[str], comparisons: list[Comparison], settings: Settings
) -> list[CheckVerdict]:
    """The four checks; one without a comparison passes only where none was to be made."""
    untested = [c.reason for c in comparisons if c.candidate is None]
    missing = list(dict.fromkeys([*incomplete, *untested]))
    checks = [
        CheckVerdict(
            name="complete",
            passed=not missing,
            reason=_shortened(missing) or "all that the rules ask for was measured",
        )
    ]
    champion = any(c.against == "champion" for c in comparisons)
    nothing_to_do = {
        "beats_base": None,
        "beats_champion": (
            "no champion to beat: the first version is judged against the base model alone"
            if not champion and not settings.champion_expected
            else None
        ),
        "no_forgetting": (
            None if incomplete and _guarded(settings) else "no general task is guarded"
        ),
    }
    for name in CHECKS[1:]:
        own = [c for c in comparisons if c.check == name]
        lost = [c.reason for c in own if not c.passed]
        idle = nothing_to_do[name]
        if own:
            reason = _shortened(lost or [c.reason for c in own])
        else:
            reason = idle or f"nothing could be compared: {_shortened(incomplete)}"
        checks.append(
            CheckVerdict(
                name=name, passed=not lost and (bool(own) or idle is not None), reason=reason
            )
        )
    return checks


def _guarded(settings: Settings) -> bool:
    return bool(forgetting_tasks(settings.promotion, settings.tasks))


def overall(against: list[str], comparisons: list[Comparison], overruled: Overrule | None) -> str:
    """The verdict in one sentence."""
    if overruled is not None:
        return f"overruled by {overruled.name} ({overruled.reason}), against: {_shortened(against)}"
    if against:
        more = len(against) - 1
        rest = f" (and {more} more {'reason' if more == 1 else 'reasons'})" if more else ""
        return f"{against[0]}{rest}"
    return f"promoted: {_shortened([c.reason for c in comparisons])}"


def _shortened(reasons: list[str]) -> str:
    shown = "; ".join(reasons[:_SHOWN])
    more = len(reasons) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown
