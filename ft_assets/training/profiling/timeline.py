"""The intervals of a trace: who ran when, what was its own time, and when nothing ran.

Of every operator and kernel the start, the end and a number for its name are kept: 28 bytes, so
that a trace of the largest size that is read still fits. Times are microseconds, as in the trace.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ft_assets.training.profiling.categories import Category, category_of, work_of_children
from resources.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Times = NDArray[np.float64]

STEP_NAME = "optimizer step "
"""Annotation around each recorded step, followed by its number."""
MAX_INTERVALS = 5_000_000
MAX_NAMES = 50_000
_LONGEST_NAME = 300
_MORE_NAMES = "(further names)"
_ANNOTATION, _OPERATOR, _DEVICE = range(3)
_KINDS = {
    "user_annotation": _ANNOTATION,
    "cpu_op": _OPERATOR,
    "kernel": _DEVICE,
    "gpu_memcpy": _DEVICE,
    "gpu_memset": _DEVICE,
}
_ROUNDING = 0.01  # the trace's times have three decimals


@dataclass
class Use:
    """How often a name ran and how long, without what it called."""

    calls: int = 0
    microseconds: float = 0.0


@dataclass(frozen=True)
class Idle:
    """When nothing ran, between the first and the last of some intervals."""

    busy: float = 0.0
    total: float = 0.0
    longest: float = 0.0
    count: int = 0


@dataclass(frozen=True)
class MemoryPoint:
    """What an allocator held after one allocation or release, in bytes."""

    time: float
    allocated: int
    reserved: int


@dataclass
class Timeline:
    """What was read of a trace."""

    start: array[float] = field(default_factory=lambda: array("d"))
    end: array[float] = field(default_factory=lambda: array("d"))
    name: array[int] = field(default_factory=lambda: array("i"))
    thread: array[int] = field(default_factory=lambda: array("i"))
    kind: array[int] = field(default_factory=lambda: array("b"))
    names: list[str] = field(default_factory=list[str])
    steps: int = 0
    events: int = 0
    peaks: dict[str, MemoryPoint] = field(default_factory=dict[str, MemoryPoint])
    """Per device the largest ``allocated`` and the largest ``reserved``, at the former's time."""

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU did any of the work."""
        return _DEVICE in set(self.kind)

    def _select(self, *kinds: int) -> tuple[Times, Times, NDArray[np.int32]]:
        import numpy as np  # not where definitions are loaded

        chosen = np.isin(np.asarray(self.kind, dtype=np.int8), kinds)
        return (
            np.asarray(self.start)[chosen],
            np.asarray(self.end)[chosen],
            np.asarray(self.name, dtype=np.int32)[chosen],
        )

    def window(self) -> float:
        """From the first thing recorded to the last."""
        start, end, _ = self._select(_ANNOTATION, _OPERATOR, _DEVICE)
        return float(end.max() - start.min()) if len(start) else 0.0

    def idle(self) -> Idle:
        """Of the GPU where there is one, else of the operators of all threads together."""
        start, end, _ = self._select(_DEVICE if self.on_gpu else _OPERATOR)
        if not len(start):
            return Idle()
        import numpy as np

        order = np.argsort(start)
        start, end = start[order], np.maximum.accumulate(end[order])
        gaps = start[1:] - end[:-1]
        gaps = gaps[gaps > 0]
        total = float(gaps.sum())
        return Idle(
            busy=float(end[-1] - start[0]) - total,
            total=total,
            longest=float(gaps.max()) if len(gaps) else 0.0,
            count=len(gaps),
        )

    def device_durations(self) -> Times:
        """Of every kernel, copy and fill on the GPU."""
        start, end, _ = self._select(_DEVICE)
        return end - start

    def uses(self) -> dict[tuple[str, Category], Use]:
        """Own time by name and kind of work: of the GPU where there is one, else of the operators.

        On a GPU nothing nests, and a kernel's time is its own.
        """
        return self._device_uses() if self.on_gpu else self._operator_uses()

    def _device_uses(self) -> dict[tuple[str, Category], Use]:
        start, end, names = self._select(_DEVICE)
        import numpy as np

        calls = np.bincount(names, minlength=len(self.names))
        times = np.bincount(names, weights=end - start, minlength=len(self.names))
        return {
            (name, category_of(name)): Use(int(calls[n]), float(times[n]))
            for n, name in enumerate(self.names)
            if calls[n]
        }

    def _operator_uses(self) -> dict[tuple[str, Category], Use]:
        """Per thread, from the outside in: what runs inside is taken from what it runs in."""
        uses: dict[tuple[str, Category], Use] = {}
        open_: list[_Open] = []

        def close() -> None:
            done = open_.pop()
            if done.counts:
                use = uses.setdefault((done.name, done.inside or category_of(done.name)), Use())
                use.calls += 1
                use.microseconds += max(done.end - done.start - done.inner, 0.0)

        thread_before = -1
        for start, end, name, thread, counts in self._outside_in():
            while open_ and (thread != thread_before or open_[-1].end < start + _ROUNDING):
                close()
            thread_before = thread
            inside = None
            if open_:
                open_[-1].inner += min(end, open_[-1].end) - start
                inside = open_[-1].inside
            open_.append(_Open(name, start, end, inside or work_of_children(name), counts))
        while open_:
            close()
        return uses

    def _outside_in(self) -> Iterator[tuple[float, float, str, int, bool]]:
        import numpy as np

        start, end = np.asarray(self.start), np.asarray(self.end)
        thread = np.asarray(self.thread)
        order: list[int] = np.lexsort((-end, start, thread)).tolist()
        for n in order:
            if self.kind[n] != _DEVICE:
                yield (
                    self.start[n],
                    self.end[n],
                    self.names[self.name[n]],
                    self.thread[n],
                    self.kind[n] == _OPERATOR,
                )


@dataclass
class _Open:
    name: str
    start: float
    end: float
    inside: Category | None
    counts: bool
    inner: float = 0.0


def read_timeline(file: Path, events: Iterable[Mapping[str, Any]]) -> Timeline:
    """Take the intervals and the memory peaks out of a trace's events.

    Raises:
        UserError: an event without the numbers that belong to it, or more events than are kept.
    """
    timeline = Timeline()
    threads: dict[tuple[str, str], int] = {}
    names: dict[str, int] = {}
    for event in events:
        timeline.events += 1
        point = memory_point(event)
        if point is not None:
            _raise_peak(timeline, *point)
        kind = _KINDS.get(str(event.get("cat")))
        if event.get("ph") != "X" or kind is None:
            continue
        if len(timeline.start) == MAX_INTERVALS:
            raise UserError(
                f"{file}: the trace has more than {MAX_INTERVALS} operators and kernels: record "
                "fewer steps (training.profiler_steps)"
            )
        start, length = event.get("ts"), event.get("dur", 0)
        if not (_is_number(start) and _is_number(length)):
            raise UserError(
                f"{file}: event {timeline.events} of the trace has no valid times (ts, dur): "
                "record it again (training.profiler_steps)"
            )
        name = _printable(event.get("name"), _LONGEST_NAME)
        if kind == _ANNOTATION and name.startswith(STEP_NAME):
            timeline.steps += 1
        if name not in names and len(names) >= MAX_NAMES:
            name = _MORE_NAMES
        thread = (_printable(event.get("pid"), 40), _printable(event.get("tid"), 40))
        timeline.start.append(start)
        timeline.end.append(start + max(length, 0))
        timeline.name.append(names.setdefault(name, len(names)))
        timeline.thread.append(threads.setdefault(thread, len(threads)))
        timeline.kind.append(kind)
    timeline.names = list(names)
    return timeline


def memory_point(event: Mapping[str, Any]) -> tuple[str, MemoryPoint] | None:
    """The device and its memory, where an event says what an allocator holds.

    ``cuda:N`` has what the caching allocator holds; ``cpu`` only what was allocated since the
    recording began.
    """
    arguments = event.get("args")
    if event.get("name") != "[memory]" or not isinstance(arguments, dict):
        return None
    said: dict[str, Any] = arguments  # pyright: ignore[reportUnknownVariableType]
    time, allocated, reserved = (
        event.get("ts"),
        said.get("Total Allocated"),
        said.get("Total Reserved", 0),
    )
    if not (_is_number(time) and _is_number(allocated) and _is_number(reserved)):
        return None
    cpu = said.get("Device Type") == 0
    number = said.get("Device Id")
    device = "cpu" if cpu else f"cuda:{number if isinstance(number, int) else 0}"
    return device[:20], MemoryPoint(float(time), int(allocated), int(reserved))


def _raise_peak(timeline: Timeline, device: str, point: MemoryPoint) -> None:
    before = timeline.peaks.get(device)
    if before is None:
        if len(timeline.peaks) < 64:  # noqa: PLR2004  (devices of one process)
            timeline.peaks[device] = point
        return
    timeline.peaks[device] = MemoryPoint(
        point.time if point.allocated > before.allocated else before.time,
        max(point.allocated, before.allocated),
        max(point.reserved, before.reserved),
    )


def _printable(value: object, longest: int) -> str:
    """A text that a terminal shows and does not obey."""
    text = str(value)[:longest]
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value) and abs(value) < 1e18  # noqa: PLR2004
    except OverflowError:  # an integer beyond what a float holds
        return False
