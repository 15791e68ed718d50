"""All rules over one run: step by step for the watchdog, at once for the asset check."""

from __future__ import annotations

from collections.abc import Iterable

from ft_assets.training.health.finding import Finding, Planned, Rule, Severity
from ft_assets.training.health.gradient_rules import GradientNorm
from ft_assets.training.health.held_out_rules import Overfitting
from ft_assets.training.health.loss_rules import Diverged, NotDecreasing, Spikes, ZeroLoss
from ft_assets.training.health.number_rules import NotFinite
from ft_assets.training.health.rate_rules import LearningRate, Throughput, WarmupShare
from ft_assets.training.metrics import StepMetrics

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "advice": 2}


class HealthMonitor:
    """Watches one run; memory does not grow with its steps."""

    def __init__(self, planned: Planned) -> None:
        self._rules: tuple[Rule, ...] = (
            NotFinite(),
            ZeroLoss(),
            Diverged(),
            NotDecreasing(),
            Spikes(),
            GradientNorm(),
            Overfitting(),
            LearningRate(planned),
            WarmupShare(planned),
            Throughput(),
        )

    def observe(self, metrics: StepMetrics) -> Finding | None:
        """Take in the next step; returns an error that is certain by now, if there is one."""
        for rule in self._rules:
            rule.observe(metrics)
        return next((f for f in self.findings(ended=False) if f.severity == "error"), None)

    def findings(self, *, ended: bool) -> list[Finding]:
        """What is wrong so far, the worst first; with ``ended`` also what only the end shows."""
        found = [finding for rule in self._rules for finding in rule.findings(ended=ended)]
        return sorted(found, key=lambda finding: _ORDER[finding.severity])


def judge_run(steps: Iterable[StepMetrics], planned: Planned) -> list[Finding]:
    """What is wrong with a run that is over, the worst first."""
    monitor = HealthMonitor(planned)
    for metrics in steps:
        monitor.observe(metrics)
    return monitor.findings(ended=True)


def must_stop(finding: Finding | None, on_unhealthy: str) -> bool:
    """Whether the watchdog ends a run: ``warn`` lets it go on unless a number is not finite."""
    return finding is not None and (on_unhealthy == "stop" or finding.code == NotFinite.code)
