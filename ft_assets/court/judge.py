"""From an evaluation to a verdict.

The court fails closed: what is absent, partial, not a number or not comparable speaks against the
candidate. Belongs here: the steps of the judgement. Does not belong here: how samples are read
(``side.py``, ``pairing.py``), tested (``paired_tests.py``) and put into words (``sentences.py``).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ft_assets.config.promotion import MetricRule, PromotionConfig, split_metric
from ft_assets.court.completeness import missing_from
from ft_assets.court.correction import holm, too_few_draws
from ft_assets.court.demands import Asked, demands_of_task, directions_of, judged_tasks
from ft_assets.court.paired_tests import TestResult, paired_bootstrap, right_or_wrong
from ft_assets.court.pairing import Pairs, Refused, Scores, pair
from ft_assets.court.sentences import checks_of, compared, overall, threshold, too_few
from ft_assets.court.side import Side, refuse_other_version
from ft_assets.court.verdict import Comparison, Overrule, Settings, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ft_assets.config.promotion import Opponent
    from ft_assets.evaluation.summary import EvaluationSummary

BASE, CANDIDATE, CHAMPION = "base", "tuned", "champion"


def judge(
    summary: EvaluationSummary,
    samples: Path,
    promotion: PromotionConfig,
    *,
    tasks: Sequence[str],
    champion_expected: bool,
    held_out: bool = True,
) -> Verdict:
    """Judge the candidate of one evaluation.

    Args:
        summary: its results.
        samples: its folder of samples, ``samples/<model>/<task>.jsonl``.
        promotion: the rules.
        tasks: ``evaluation.tasks`` of the pipeline.
        champion_expected: whether the registry has a champion other than the candidate; without
            one the candidate is judged against the base model alone.
        held_out: whether the pipeline holds rows out.

    Raises:
        UserError: a file of samples cannot be read.
    """
    sides = [
        Side(summary, samples, model, called)
        for model, called in (
            (CANDIDATE, "the candidate"),
            (BASE, "the base model"),
            (CHAMPION, "the champion"),
        )
    ]
    settings = Settings(
        promotion=promotion,
        tasks=list(tasks),
        held_out=held_out,
        champion_expected=champion_expected,
    )
    return judge_sides(sides[0], sides[1], sides[2] if sides[2].present else None, settings)


def judge_sides(candidate: Side, base: Side, champion: Side | None, settings: Settings) -> Verdict:
    """Judge a candidate whose opponents may be of other evaluations.

    Raises:
        UserError: a file of samples cannot be read.
    """
    incomplete = missing_from(candidate, base, champion, settings)
    findings = _Findings(settings.promotion)
    if candidate.present:
        others: dict[Opponent, Side] = {"base": base} if base.present else {}
        if champion is not None and champion.present:
            others["champion"] = champion
        for task in judged_tasks(settings.promotion, settings.tasks):
            try:
                _judge_task(task, candidate, others, settings, findings)
            except Refused as refusal:
                incomplete.append(str(refusal))
    comparisons = findings.decided()
    incomplete += findings.too_few_draws()
    return _verdict(incomplete, comparisons, settings)


@dataclass
class _Findings:
    """The comparisons so far; a claim is decided when all of them are known."""

    promotion: PromotionConfig
    done: list[Comparison] = field(default_factory=list[Comparison])
    tested: list[tuple[int, TestResult, bool]] = field(
        default_factory=list[tuple[int, TestResult, bool]]
    )
    """Of those that were tested: the place in ``done``, the result, and if higher is better."""

    def decided(self) -> list[Comparison]:
        """All comparisons, decided after the correction for their number."""
        p_values = [result.p_value for _, result, _ in self.tested]
        adjusted = holm(p_values) if self.promotion.correction == "holm" else p_values
        for (place, result, higher), p_value in zip(self.tested, adjusted, strict=True):
            open_one = self.done[place]
            passed = p_value <= round(1 - self.promotion.confidence, 12)
            decided = open_one.model_copy(update={"p_adjusted": p_value, "passed": passed})
            sentence = compared(decided, result, self.promotion, higher_is_better=higher)
            self.done[place] = decided.model_copy(update={"reason": sentence})
        return self.done

    def too_few_draws(self) -> list[str]:
        """Why the bootstrap could not show what the rules ask, if so; after the decision."""
        drawn = [
            (result.p_value, self.done[place].passed)
            for place, result, _ in self.tested
            if result.test == "bootstrap"
        ]
        reason = too_few_draws(drawn, comparisons=len(self.tested), promotion=self.promotion)
        return [reason] if reason else []


@dataclass(frozen=True)
class _Heard:
    """The candidate in one task."""

    side: Side
    scores: Scores
    directions: Mapping[str, bool | None]
    """Per metric, whether higher is better."""


def _judge_task(
    task: str,
    candidate: Side,
    others: dict[Opponent, Side],
    settings: Settings,
    findings: _Findings,
) -> None:
    scores = candidate.scores(task)
    directions = directions_of(
        candidate.summary, task, candidate.parts(task), metrics=scores.columns
    )
    asked = demands_of_task(
        task,
        settings.promotion,
        tasks=settings.tasks,
        scores=scores,
        directions=directions,
        against=list(others),
    )
    for model, other in others.items():
        wanted = [demand for demand in asked if demand.against == model]
        if wanted:
            _compare(task, wanted, _Heard(candidate, scores, directions), other, findings)
    for metric, rule in _rules_of(task, settings.promotion):
        own = _own_pairs(scores, metric)
        findings.done += threshold(task, metric, rule, own, settings.promotion.min_samples)


def _rules_of(task: str, promotion: PromotionConfig) -> list[tuple[str, MetricRule]]:
    return [
        (split_metric(name)[1], rule)
        for name, rule in promotion.metrics.items()
        if split_metric(name)[0] == task
    ]


def _own_pairs(scores: Scores, metric: str) -> Pairs | None:
    """The candidate's own scores; None where it has none, or some that are not finite."""
    try:
        pairs = pair(scores, scores, metric, name=metric, whose="the candidate")
    except Refused:
        return None
    return pairs if len(pairs) else None


def _compare(
    task: str, wanted: list[Asked], candidate: _Heard, other: Side, findings: _Findings
) -> None:
    """Compare with one model in one task, by all metrics asked for."""
    promotion = findings.promotion
    my_scores = candidate.scores
    try:
        their_scores = other.scores(task)
        refuse_other_version(candidate.side, other, task)
    except Refused as refusal:
        findings.done += [_refused(task, demand, str(refusal)) for demand in wanted]
        return
    for demand in wanted:
        name = f"{task}/{demand.metric}"
        try:
            pairs = pair(my_scores, their_scores, demand.metric, name=name, whose=other.called)
            _refuse_few(pairs, promotion.min_samples, name)
            higher = _direction(candidate.directions, demand.metric, name)
        except Refused as refusal:
            findings.done.append(_refused(task, demand, str(refusal)))
            continue
        result = _tested(pairs, demand, promotion, name, higher_is_better=higher)
        findings.tested.append((len(findings.done), result, higher))
        findings.done.append(_measured_pair(task, demand, pairs, result, higher_is_better=higher))


def _refused(task: str, demand: Asked, reason: str) -> Comparison:
    return Comparison(
        check=demand.check,
        task=task,
        metric=demand.metric,
        against=demand.against,
        rule=demand.rule,
        margin=demand.margin or None,
        reason=reason,
    )


def _direction(directions: Mapping[str, bool | None], metric: str, name: str) -> bool:
    higher = directions.get(metric)
    if higher is None:
        raise Refused(
            f"{name}: nobody says whether more of it is better: give the metric higher_is_better "
            "in the task's YAML"
        )
    return higher


def _refuse_few(pairs: Pairs, least: int, name: str) -> None:
    reason = too_few(name, len(pairs), least)
    if reason is not None:
        raise Refused(reason)


def _tested(
    pairs: Pairs, demand: Asked, promotion: PromotionConfig, name: str, *, higher_is_better: bool
) -> TestResult:
    level = 1 - promotion.confidence
    good, bad = pairs.candidate, pairs.other
    if not higher_is_better:
        good, bad = bad, good
    if pairs.right_or_wrong:
        return right_or_wrong(good == 1, bad == 1, margin=demand.margin, level=level)
    return paired_bootstrap(
        good - bad,
        pairs.weights,
        margin=demand.margin,
        level=level,
        draws=promotion.bootstrap_draws,
        seed=[promotion.seed, zlib.crc32(name.encode())],
    )


def _measured_pair(
    task: str, demand: Asked, pairs: Pairs, result: TestResult, *, higher_is_better: bool
) -> Comparison:
    ends = (result.low, result.high) if higher_is_better else (-result.high, -result.low)
    return Comparison(
        check=demand.check,
        task=task,
        metric=demand.metric,
        against=demand.against,
        rule=demand.rule,
        margin=demand.margin or None,
        candidate=pairs.candidate_value,
        other=pairs.other_value,
        difference=result.gain if higher_is_better else -result.gain,
        low=ends[0] if math.isfinite(ends[0]) else None,
        high=ends[1] if math.isfinite(ends[1]) else None,
        p_value=result.p_value,
        samples=len(pairs),
        test=result.test,
        reason="",
    )


def _verdict(incomplete: list[str], comparisons: list[Comparison], settings: Settings) -> Verdict:
    checks = checks_of(incomplete, comparisons, settings)
    lost = [c.reason for c in comparisons if not c.passed]
    against = list(dict.fromkeys([*incomplete, *lost]))
    if not against and not any(c.against == "base" for c in comparisons):
        against = ["nothing was compared with the base model: evaluate again"]
    won = not against and all(check.passed for check in checks)
    named = settings.promotion.overruled_by()
    overruled = Overrule(name=named[0], reason=named[1]) if named and not won else None
    return Verdict(
        passed=won or overruled is not None,
        reason=overall(against, comparisons, overruled),
        reasons=against or [comparison.reason for comparison in comparisons],
        comparisons=comparisons,
        checks=checks,
        overruled=overruled,
        settings=settings,
    )
