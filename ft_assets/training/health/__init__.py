"""Whether a training run is healthy, from its metrics alone: no torch, constant memory.

The same rules watch a run while it trains and judge it when it is over.
"""

from __future__ import annotations

from ft_assets.training.health.finding import Finding, Planned, Severity
from ft_assets.training.health.monitor import HealthMonitor, judge_run, must_stop

__all__ = ["Finding", "HealthMonitor", "Planned", "Severity", "judge_run", "must_stop"]
