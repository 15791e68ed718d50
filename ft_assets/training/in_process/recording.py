"""One recording with torch.profiler, written as a profile folder that is there whole or not at all.

Belongs here: starting, stopping and writing. Does not belong here: which steps are recorded
(``profiler.py``), and reading (``ft_assets.training.profiling``).
"""

from __future__ import annotations

# torch has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateUsage=false
import gzip
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile, record_function

from ft_assets.training.profiling.chrome_trace import read_events
from ft_assets.training.profiling.files import (
    MEMORY_FILE,
    PROFILE_FOLDER,
    SNAPSHOT_FILE,
    TRACE_FILE,
)
from ft_assets.training.profiling.memory import (
    Held,
    MemoryRecord,
    Resident,
    Segment,
    held_in_snapshot,
    held_over_time,
)
from ft_assets.training.profiling.timeline import STEP_NAME
from resources.errors import UserError

_SAMPLE_SECONDS = 0.05
_SNAPSHOT_ENTRIES = 100_000
_GZIP_LEVEL = 5  # a third of the time of the default, for files a tenth larger


class Recording:
    """Operators, kernels and memory from ``start`` to ``finish``, of this process.

    Args:
        run_dir: the folder ``profile`` appears in it.
        all_threads: also record threads that did not start the recording; the one that trains is
            another where a backend calls us from a thread of its own.
    """

    def __init__(self, run_dir: Path, *, all_threads: bool = False) -> None:
        self.folder = run_dir / PROFILE_FOLDER
        self.running = False
        self._all_threads = all_threads
        self._cuda = torch.cuda.is_available()
        self._first_step = 0
        self._step: Any = None

    @property
    def exists(self) -> bool:
        """Whether a whole profile is there: an earlier attempt of the same run wrote it."""
        return self.folder.is_dir()

    def start(self, first_step: int) -> None:
        """Begin; ``first_step`` is the number, from 1, of the step that comes."""
        self._first_step = first_step
        self._resident = _ResidentMemory()
        activities = [ProfilerActivity.CPU]
        if self._cuda:
            activities.append(ProfilerActivity.CUDA)
            torch.cuda.memory._record_memory_history(stacks="python", max_entries=_SNAPSHOT_ENTRIES)
        self._profile = profile(
            activities=activities,
            record_shapes=True,
            profile_memory=True,
            experimental_config=(
                _ExperimentalConfig(profile_all_threads=True) if self._all_threads else None
            ),
        )
        self._profile.start()
        self._resident.start()
        self.running = True

    def begin_step(self, step: int) -> None:
        """Mark the start of a step in the trace."""
        self._step = record_function(f"{STEP_NAME}{step}")
        self._step.__enter__()

    def end_step(self) -> None:
        """Mark its end."""
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def finish(self, last_step: int) -> None:
        """End, and write the folder; ``last_step`` was the last recorded step."""
        self.end_step()
        if self._cuda:
            torch.cuda.synchronize()
        self._profile.stop()
        resident = self._resident.stop()
        self.running = False
        partial = self.folder.with_name(self.folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._write_trace(partial / TRACE_FILE)
        segments, on_gpus = self._write_snapshot(partial / SNAPSHOT_FILE)
        record = MemoryRecord(
            first_step=self._first_step,
            last_step=last_step,
            resident=resident,
            held={**_held_in(partial / TRACE_FILE), **on_gpus},
            segments=segments,
        )
        (partial / MEMORY_FILE).write_text(record.model_dump_json())
        shutil.rmtree(self.folder, ignore_errors=True)
        partial.rename(self.folder)

    def abandon(self) -> None:
        """End without writing; nothing happens when nothing runs."""
        if self.running:
            self.end_step()
            self._profile.stop()
            self._resident.stop()
            self._stop_history()
            self.running = False

    def _write_trace(self, file: Path) -> None:
        """Export beside and pack: the profiler itself would unpack to the system's folder /tmp."""
        plain = file.with_suffix("")
        self._profile.export_chrome_trace(str(plain))
        with plain.open("rb") as source, gzip.open(file, "wb", _GZIP_LEVEL) as target:
            shutil.copyfileobj(source, target)
        plain.unlink()

    def _write_snapshot(self, file: Path) -> tuple[list[Segment], dict[str, list[Held]]]:
        """The allocator's snapshot for PyTorch's viewer; its numbers, without stacks, for us."""
        if not self._cuda:
            return [], {}
        snapshot: dict[str, Any] = dict(torch.cuda.memory._snapshot())
        torch.cuda.memory._dump_snapshot(str(file))
        self._stop_history()
        segments = [
            Segment(
                device=segment["device"],
                total=segment["total_size"],
                allocated=segment["allocated_size"],
                active=segment["active_size"],
                blocks=len(segment["blocks"]),
            )
            for segment in snapshot["segments"]
        ]
        return segments, held_in_snapshot(snapshot["segments"], snapshot["device_traces"])

    def _stop_history(self) -> None:
        if self._cuda:
            torch.cuda.memory._record_memory_history(enabled=None)


class _ResidentMemory:
    """Resident memory of this process, sampled by a thread."""

    def __init__(self) -> None:
        self._points: list[Resident] = []
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._sample()
        self._thread.start()

    def stop(self) -> list[Resident]:
        self._ended.set()
        self._thread.join()
        self._sample()
        return self._points

    def _run(self) -> None:
        pause = _SAMPLE_SECONDS
        while not self._ended.wait(pause):
            self._sample()
            if len(self._points) % 1000 == 0:
                pause *= 2  # long steps: hours fit into a few thousand points

    def _sample(self) -> None:
        self._points.append(
            Resident(
                seconds=time.monotonic() - self._began, bytes=psutil.Process().memory_info().rss
            )
        )


def _held_in(trace: Path) -> dict[str, list[Held]]:
    """What the profiler saw of memory; nothing where its trace is too large to be read."""
    try:
        return held_over_time(read_events(trace))
    except UserError:
        return {}  # `ft profile` says so too; the training goes on
