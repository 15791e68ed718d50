"""Chrome traces as torch.profiler lays them out, made by hand so that every number is known."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any


def event(
    name: str, start: float, length: float, cat: str = "cpu_op", tid: int = 1, **args: Any
) -> dict[str, Any]:
    """An interval; times in microseconds."""
    return {
        "ph": "X",
        "cat": cat,
        "name": name,
        "pid": 1,
        "tid": tid,
        "ts": start,
        "dur": length,
        "args": args,
    }


def kernel(name: str, start: float, length: float, stream: int = 7) -> dict[str, Any]:
    cat = {"Memcpy": "gpu_memcpy", "Memset": "gpu_memset"}.get(name[:6], "kernel")
    return event(name, start, length, cat=cat, tid=stream, device=0)


def memory(time: float, allocated: int, reserved: int = 0, device: int = 0) -> dict[str, Any]:
    """An allocation; device 0 is the CPU, 1 a GPU."""
    return {
        "ph": "i",
        "cat": "cpu_instant_event",
        "name": "[memory]",
        "pid": 1,
        "tid": 1,
        "ts": time,
        "args": {
            "Device Type": device,
            "Device Id": 0 if device else -1,
            "Total Allocated": allocated,
            "Total Reserved": reserved,
            "Bytes": 1,
        },
    }


def text_of(events: list[dict[str, Any]]) -> str:
    """With keys before and after the events, indented as the profiler does it."""
    around = {
        "schemaVersion": 1,
        "baseTimeNanoseconds": 1790857026,
        "traceEvents": events,
        "x": "y",
    }
    return json.dumps(around, indent=2)


def write_trace(folder: Path, events: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trace.json.gz"
    with gzip.open(file, "wt", encoding="utf-8") as stream:
        stream.write(text_of(events))
    return file
