"""What a rule says of a run, and what it must know of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

from ft_assets.training.metrics import StepMetrics
from resources.record import Record

Severity = Literal["error", "warning", "advice"]
"""error: the run cannot be trusted. warning: look at it. advice: it could be set up better."""


class Finding(Record):
    """One thing that is wrong with a run."""

    code: str
    """The rule, in a word or two: ``diverged``."""
    severity: Severity
    step: int
    """Where it was seen first, or is most clearly seen."""
    seen: str
    """What was seen, with the numbers."""
    remedy: str
    """What to change, with the names of our parameters."""

    def __str__(self) -> str:
        return f"{self.seen}: {self.remedy}"


class Planned(Record):
    """What the plan of a run says of its learning rate; the rest is in the metrics."""

    lr_scheduler: str = "cosine"
    warmup_steps: int = 0

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Planned:
        """From the arguments of any backend; where one takes no scheduler, it uses cosine."""
        return cls(
            lr_scheduler=str(parameters.get("lr_scheduler", "cosine")),
            warmup_steps=int(parameters.get("warmup_steps", 0)),
        )


class Rule(Protocol):
    """One kind of trouble, looked for step by step."""

    def observe(self, metrics: StepMetrics) -> None:
        """Take in the next step."""
        ...

    def findings(self, *, ended: bool) -> Iterator[Finding]:
        """What is wrong so far; with ``ended`` also what only the end shows."""
        ...
