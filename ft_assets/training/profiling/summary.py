"""A profile as a page of numbers: where the time and the memory of the recorded steps went."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ft_assets.training.profiling.categories import Category, direction_of
from ft_assets.training.profiling.chrome_trace import read_events
from ft_assets.training.profiling.files import TRACE_FILE, find_trace
from ft_assets.training.profiling.memory import MemoryRecord, load_memory
from ft_assets.training.profiling.remedies import SMALL_KERNEL_SECONDS, Remedy, remedies_for
from ft_assets.training.profiling.timeline import Timeline, Use, read_timeline
from resources.errors import UserError
from resources.record import Record

TOP = 15
_MICRO = 1e-6


class CategoryTime(Record):
    """One kind of work; the share is of the work, which is the sum of all own times."""

    category: Category
    seconds: float
    share: float
    calls: int


class OperatorTime(Record):
    """One kernel, or on the CPU one operator, without what it called."""

    name: str
    category: Category
    seconds: float
    share: float
    calls: int


class IdleTime(Record):
    """Gaps between kernels, or on the CPU between operators; the share is of the window."""

    seconds: float
    share: float
    longest_seconds: float
    count: int


class CopyTimes(Record):
    """Seconds of copies by direction, and of filling with a value."""

    h2d: float = 0.0
    d2h: float = 0.0
    d2d: float = 0.0
    host: float = 0.0
    set: float = 0.0


class MemoryUse(Record):
    """MiB, and a share between 0 and 1; None where nothing tells."""

    peak_allocated_mib: float | None
    """Held by tensors: of the GPU, or on the CPU since the recording began."""
    peak_reserved_mib: float | None
    """Held by PyTorch's allocator on the GPU."""
    peak_resident_mib: float | None
    """Of the whole process, in main memory."""
    fragmentation: float | None
    """Share of the reserved GPU memory that no tensor held at its peak."""


class ProfileSummary(Record):
    """What a profile says. Times in seconds, shares between 0 and 1."""

    trace: str
    device: Literal["gpu", "cpu"]
    """Where the work was done; times and operators are of this device."""
    steps: int | None
    """Recorded optimizer steps, where the trace tells."""
    window_seconds: float
    """From the first thing recorded to the last."""
    work_seconds: float
    """Sum of all own times; more than the window where things ran at once."""
    gpu_use: float | None
    """Share of the window in which the GPU worked; None without a GPU."""
    idle: IdleTime
    memory_operations: float
    """Share of copies and fills in the work."""
    copies: CopyTimes
    small_kernels: float | None
    """Share of the kernels that are shorter than a launch; None without a GPU."""
    categories: list[CategoryTime]
    operators: list[OperatorTime]
    """The first few by own time."""
    memory: MemoryUse
    remedies: list[Remedy] = Field(default_factory=list[Remedy])


def summarize(path: Path) -> ProfileSummary:
    """Read the profile in an artifact, a run folder, a profile folder or a trace file.

    Raises:
        UserError: there is none, or it is damaged.
    """
    trace = find_trace(path)
    timeline = read_timeline(trace, read_events(trace))
    if not timeline.start:
        raise UserError(
            f"{trace}: the trace has no operator and no kernel: record it again "
            "(training.profiler_steps)"
        )
    # A trace on its own may lie beside anything: only in a profile folder the record belongs to it.
    record = load_memory(trace.parent) if trace.name == TRACE_FILE else None
    summary = _summary(trace, timeline, record)
    return summary.model_copy(update={"remedies": remedies_for(summary)})


def _summary(trace: Path, timeline: Timeline, record: MemoryRecord | None) -> ProfileSummary:
    uses = timeline.uses()
    work = sum(use.microseconds for use in uses.values())
    window = timeline.window()
    idle = timeline.idle()
    categories = _categories(uses, work)
    durations = timeline.device_durations()
    small = durations < SMALL_KERNEL_SECONDS / _MICRO
    copies = next((part.share for part in categories if part.category == "copies"), 0.0)
    return ProfileSummary(
        trace=str(trace),
        device="gpu" if timeline.on_gpu else "cpu",
        steps=timeline.steps or (record and record.last_step - record.first_step + 1),
        window_seconds=window * _MICRO,
        work_seconds=work * _MICRO,
        gpu_use=_share(idle.busy, window) if timeline.on_gpu else None,
        idle=IdleTime(
            seconds=idle.total * _MICRO,
            share=_share(idle.total, window),
            longest_seconds=idle.longest * _MICRO,
            count=idle.count,
        ),
        memory_operations=copies,
        copies=_copies(uses),
        small_kernels=float(small.mean()) if timeline.on_gpu else None,
        categories=categories,
        operators=_operators(uses, work),
        memory=_memory(timeline, record),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _categories(uses: dict[tuple[str, Category], Use], work: float) -> list[CategoryTime]:
    total: dict[Category, Use] = {}
    for (_, category), use in uses.items():
        sum_ = total.setdefault(category, Use())
        sum_.calls += use.calls
        sum_.microseconds += use.microseconds
    return [
        CategoryTime(
            category=category,
            seconds=use.microseconds * _MICRO,
            share=_share(use.microseconds, work),
            calls=use.calls,
        )
        for category, use in sorted(total.items(), key=lambda item: -item[1].microseconds)
    ]


def _operators(uses: dict[tuple[str, Category], Use], work: float) -> list[OperatorTime]:
    first = sorted(uses.items(), key=lambda item: -item[1].microseconds)[:TOP]
    return [
        OperatorTime(
            name=name,
            category=category,
            seconds=use.microseconds * _MICRO,
            share=_share(use.microseconds, work),
            calls=use.calls,
        )
        for (name, category), use in first
    ]


def _copies(uses: dict[tuple[str, Category], Use]) -> CopyTimes:
    seconds: dict[str, float] = {}
    for (name, category), use in uses.items():
        if category == "copies":
            direction = direction_of(name)
            seconds[direction] = seconds.get(direction, 0.0) + use.microseconds * _MICRO
    return CopyTimes(**seconds)


def _memory(timeline: Timeline, record: MemoryRecord | None) -> MemoryUse:
    """From the trace's own memory events, and from the record what they do not tell."""
    peaks = _peaks_of(record)
    peaks.update({name: (p.allocated, p.reserved) for name, p in timeline.peaks.items()})
    device = next((name for name in sorted(peaks) if name != "cpu"), "cpu")
    allocated, reserved = peaks.get(device, (None, None))
    fragmentation = None
    if allocated is not None and reserved:
        fragmentation = min(max(0.0, 1 - allocated / reserved), 1.0)
    resident = max((point.bytes for point in record.resident), default=None) if record else None
    return MemoryUse(
        peak_allocated_mib=_mib(allocated),
        peak_reserved_mib=_mib(reserved or None),
        peak_resident_mib=_mib(resident),
        fragmentation=fragmentation,
    )


def _peaks_of(record: MemoryRecord | None) -> dict[str, tuple[int, int]]:
    if record is None:
        return {}
    return {
        device: (max(p.allocated for p in points), max(p.reserved for p in points))
        for device, points in record.held.items()
        if points
    }


def _mib(value: int | None) -> float | None:
    return None if value is None else value / 2**20
