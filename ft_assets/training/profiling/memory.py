"""The memory record of a profile, in a form that can be read without running code.

Written beside the trace by whoever records; on a GPU it holds of the memory snapshot what tells
about fragmentation, which else is in a pickle only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from ft_assets.training.profiling.files import MEMORY_FILE
from ft_assets.training.profiling.timeline import MemoryPoint, memory_point
from resources.errors import UserError
from resources.record import Record

MAX_POINTS = 2000
"""Points of one timeline at most; of those that fall together the highest is kept."""
_MAX_BYTES = 64 << 20
_SIGN_OF_TENSOR = {"alloc": 1, "free_requested": -1}
_SIGN_OF_SEGMENT = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}


class _Record(Record):
    model_config = ConfigDict(allow_inf_nan=False)


class Segment(_Record):
    """A piece of GPU memory that PyTorch holds, in bytes, when the recording ended."""

    device: int
    total: int
    """Reserved from the driver."""
    allocated: int
    """Held by tensors."""
    active: int
    """The same, and what is not released yet on another stream."""
    blocks: int


class Held(_Record):
    """What an allocator held at a time: seconds since the recording began, and bytes."""

    seconds: float
    allocated: int
    reserved: int


class Resident(_Record):
    """Memory of the process as the system counts it: seconds and bytes."""

    seconds: float
    bytes: int


class MemoryRecord(_Record):
    """What memory did while the steps were recorded."""

    format: Literal[1] = 1
    first_step: int
    last_step: int
    """The recorded optimizer steps, counted from 1, both included."""
    resident: list[Resident]
    held: dict[str, list[Held]]
    """By device: ``cpu`` (allocated since the recording began), ``cuda:0``..."""
    segments: list[Segment]
    """Of the GPU's snapshot; empty on the CPU."""


def load_memory(folder: Path) -> MemoryRecord | None:
    """The memory record in a profile folder, if there is one.

    Raises:
        UserError: it is damaged, or larger than any that is written.
    """
    file = folder / MEMORY_FILE
    if not file.is_file():
        return None
    if file.stat().st_size > _MAX_BYTES:
        raise UserError(f"{file}: larger than {_MAX_BYTES >> 20} MiB: this is no memory record")
    try:
        return MemoryRecord.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"{file}: {where} is not as it was written ({first['msg']}): record the profile again "
            "(training.profiler_steps)"
        ) from error


def held_over_time(events: Iterable[dict[str, Any]]) -> dict[str, list[Held]]:
    """By device what its allocator held, from a trace's memory events; at most MAX_POINTS each."""
    points: dict[str, list[MemoryPoint]] = {}
    for event in events:
        found = memory_point(event)
        if found is not None:
            points.setdefault(found[0], []).append(found[1])
    return {device: _thinned(found) for device, found in points.items()}


def held_in_snapshot(
    segments: Sequence[Mapping[str, Any]], traces: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, list[Held]]:
    """By GPU what its allocator held, from ``segments`` and ``device_traces`` of a snapshot.

    The segments say how it ended; the history is followed backwards from there, since it may have
    lost its beginning.
    """
    points: dict[str, list[MemoryPoint]] = {}
    for device, trace in enumerate(traces):
        own = [segment for segment in segments if segment["device"] == device]
        allocated = sum(int(segment["allocated_size"]) for segment in own)
        reserved = sum(int(segment["total_size"]) for segment in own)
        for entry in reversed(trace):
            found = points.setdefault(f"cuda:{device}", [])
            found.append(MemoryPoint(float(entry.get("time_us", 0)), allocated, reserved))
            size = int(entry.get("size", 0))
            allocated -= _SIGN_OF_TENSOR.get(entry["action"], 0) * size
            reserved -= _SIGN_OF_SEGMENT.get(entry["action"], 0) * size
    return {device: _thinned(found) for device, found in points.items()}


def _thinned(points: list[MemoryPoint]) -> list[Held]:
    points.sort(key=lambda point: point.time)
    began, length = points[0].time, points[-1].time - points[0].time
    kept: dict[int, MemoryPoint] = {}
    for point in points:
        slot = int((point.time - began) / length * (MAX_POINTS - 1)) if length else 0
        if slot not in kept or point.allocated > kept[slot].allocated:
            kept[slot] = point
    return [
        Held(
            seconds=(point.time - began) / 1e6,
            allocated=max(point.allocated, 0),
            reserved=max(point.reserved, 0),
        )
        for point in kept.values()
    ]
