"""The last few values of a run, with what rules ask of them."""

from __future__ import annotations

import math
import statistics
from collections import deque


class Window:
    """At most ``size`` values, the newest; sums are exact enough for a window's length."""

    def __init__(self, size: int) -> None:
        self.values: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def full(self) -> bool:
        """Whether it holds as many values as it can."""
        return len(self.values) == self.values.maxlen

    @property
    def mean(self) -> float:
        """Of the values in it; it must hold one."""
        return statistics.fmean(self.values)

    @property
    def median(self) -> float:
        """Of the values in it; it must hold one."""
        return statistics.median(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation; 0 for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def error_of_mean(self) -> float:
        """Standard error of the mean, were the values independent."""
        return self.deviation / math.sqrt(len(self.values))

    def add(self, value: float) -> None:
        """Take in a value and let go of the oldest; one that is not finite is left out."""
        if math.isfinite(value):
            self.values.append(value)
