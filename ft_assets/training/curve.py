"""A curve of a run of any length in bounded memory: the means of equal stretches of its steps."""

from __future__ import annotations

import itertools
import math

MOST_POINTS = 1000


class Curve:
    """Points (step, value), at most ``most``; a longer curve is made coarser as it grows."""

    def __init__(self, most: int = MOST_POINTS) -> None:
        self._most = most
        self._stretch = 1
        self._points: list[tuple[float, float]] = []
        self._open: list[tuple[float, float]] = []

    def add(self, step: float, value: float) -> None:
        """Take in the next point; a value that is not finite is left out."""
        if not math.isfinite(value):
            return
        self._open.append((step, value))
        if len(self._open) == self._stretch:
            self._points.append(_mean(self._open))
            self._open = []
        if len(self._points) == self._most:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [_mean([one, other]) for one, other in pairs]
            self._stretch *= 2

    @property
    def points(self) -> list[tuple[float, float]]:
        """The curve so far, in rising steps; the newest stretch may be shorter."""
        return [*self._points, _mean(self._open)] if self._open else list(self._points)

    def thinned(self, most: int) -> list[tuple[float, float]]:
        """The same in at most ``most`` points."""
        points = self.points
        if len(points) <= most:
            return points
        edges = [round(place * len(points) / most) for place in range(most + 1)]
        return [_mean(points[start:end]) for start, end in itertools.pairwise(edges)]


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return (
        sum(step for step, _ in points) / len(points),
        sum(value for _, value in points) / len(points),
    )
