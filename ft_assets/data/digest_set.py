"""A set of digests that stays small: 16 bytes per key in memory, and beyond a bound on disk.

Keys are added in blocks and lie in sorted runs. A new run is merged with its neighbour as soon as
that is no longer twice as long, so there are few runs and each key is merged a logarithmic number
of times. When the runs in memory hold more keys than the bound, they become one file that is
mapped, not read; many files are merged into one. The files have no names: what no set maps any more
is gone, and so is what a killed process had.

Memory: 2 MB, 16 bytes per key up to the bound, a range of keys once more while runs are merged, and
pages of the mapped files, which the system takes back when it needs them.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from mmap import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Keys = NDArray[np.uint64]
"""N digests of 16 bytes as an array (N, 2): the high and the low 64 bits of each."""
Mask = NDArray[np.bool_]

KEYS_IN_MEMORY = 8_000_000  # 128 MB
_LEADING = 21  # bits: 2 MB
_HALF = 8  # bytes
_FILES = 8  # so many, then they are merged
_OWN_PAGES = 2**18  # bytes of a half from which it has pages of its own
_KEYS_AT_A_TIME = 25_000  # or up to twice as many, while runs are merged


@dataclass(frozen=True, slots=True)
class _Run:
    """Distinct keys in the order of their high halves."""

    high: Keys
    low: Keys
    pages: tuple[mmap, ...] = ()
    """The memory of the halves of a long run."""

    def has(self, high: Keys, low: Keys) -> Mask:
        found = np.zeros(len(high), np.bool_)
        asked = np.arange(len(high))
        places = np.searchsorted(self.high, high)
        # One round, as good as always: keys with equal high and other low halves take another,
        # of which digests have few.
        while asked.size:
            inside = places < len(self.high)
            asked, places = asked[inside], places[inside]
            same = self.high[places] == high[asked]
            asked, places = asked[same], places[same]
            equal = self.low[places] == low[asked]
            found[asked[equal]] = True
            asked, places = asked[~equal], places[~equal] + 1
        return found

    def give_back(self, keys: slice) -> None:
        """Give the pages of keys that nobody asks for any more back to the system."""
        begin, end = (place * _HALF // PAGESIZE * PAGESIZE for place in (keys.start, keys.stop))
        if begin < end:
            for half in self.pages:
                half.madvise(MADV_DONTNEED, begin, end - begin)


class DigestSet:
    """Which digests have been there before.

    Args:
        folder: on whose disk keys go beyond the bound.
        keys_in_memory: the bound.

    An error while keys are added, such as a full disk, leaves a set that is of no use.
    """

    def __init__(self, folder: Path, keys_in_memory: int = KEYS_IN_MEMORY) -> None:
        self._folder = folder
        self._bound = keys_in_memory
        self._files: list[_Run] = []
        self._runs: list[_Run] = []
        self._length = 0
        self._begun = np.zeros(2**_LEADING, np.bool_)
        """Whether there is a key that begins with these bits: most new ones need no search."""

    def __len__(self) -> int:
        return self._length

    def add(self, keys: Keys) -> Mask:
        """Add the keys; which of them are new, the second of two equal keys of a block not."""
        order = _sorted_places(keys)
        high, low = keys[order, 0], keys[order, 1]
        new = ~self._has(high, low)
        new[1:] &= (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        self._append(_Run(high[new], low[new]))
        return _in_order(new, order)

    def contains(self, keys: Keys) -> Mask:
        """Which of the keys are in the set."""
        order = np.argsort(keys[:, 0])  # neighbours are looked up faster
        return _in_order(self._has(keys[order, 0], keys[order, 1]), order)

    def _has(self, high: Keys, low: Keys) -> Mask:
        found = self._begun[high >> np.uint64(64 - _LEADING)]
        asked = np.flatnonzero(found)
        high, low = high[asked], low[asked]
        there = np.zeros(len(asked), np.bool_)
        for run in (*self._files, *self._runs):
            there |= run.has(high, low)
        found[asked] = there
        return found

    def _append(self, run: _Run) -> None:
        if not len(run.high):
            return
        self._length += len(run.high)
        self._begun[run.high >> np.uint64(64 - _LEADING)] = True
        runs = self._runs
        runs.append(run)
        merged, length = 1, len(run.high)
        while merged < len(runs) and len(runs[-merged - 1].high) <= 2 * length:
            merged += 1
            length += len(runs[-merged].high)
        if merged > 1:
            into = _empty(length)
            _merge(runs[-merged:], into)
            runs[-merged:] = [into]
        if sum(len(run.high) for run in runs) > self._bound:
            self._spill()

    def _spill(self) -> None:
        self._files.append(self._file(self._runs))
        self._runs = []
        if len(self._files) == _FILES:
            self._files = [self._file(self._files)]

    def _file(self, runs: list[_Run]) -> _Run:
        """The runs in one file per half; those in memory are of no use afterwards."""
        length = sum(len(run.high) for run in runs)
        high, low = (_mapped(self._folder, length) for _ in range(2))
        file = _Run(high, low)
        _merge(runs, file)
        return file


def _sorted_places(keys: Keys) -> NDArray[np.intp]:
    """The places of keys in the order of the keys; the first of equal ones comes first."""
    high = np.ascontiguousarray(keys[:, 0])
    order = np.argsort(high)
    high = high[order]
    same = high[1:] == high[:-1]
    if same.any():  # few: the order among these alone is not made yet
        there = np.flatnonzero(np.append(same, False) | np.append(False, same))
        tied = order[there]
        order[there] = tied[np.lexsort((tied, keys[tied, 1], high[there]))]
    return order


def _merge(runs: Sequence[_Run], into: _Run) -> None:
    """Write what runs hold into a new one, a range of keys at a time, and give it back there.

    The ranges are equal, and so are the numbers of keys in them, as digests are spread evenly.
    """
    ends = [0] * len(runs)
    written = 0
    for last in _limits(max(1, len(into.high) // _KEYS_AT_A_TIME)):
        begins = ends
        ends = [int(np.searchsorted(run.high, last, side="right")) for run in runs]
        parts = [slice(begin, end) for begin, end in zip(begins, ends, strict=True)]
        highs = np.concatenate([run.high[part] for run, part in zip(runs, parts, strict=True)])
        lows = np.concatenate([run.low[part] for run, part in zip(runs, parts, strict=True)])
        order = np.argsort(highs, kind="stable")  # merges what is sorted already
        into.high[written : written + len(order)] = highs[order]
        into.low[written : written + len(order)] = lows[order]
        written += len(order)
        for run, part in zip(runs, parts, strict=True):
            run.give_back(part)


def _empty(length: int) -> _Run:
    """A run to be written.

    In the heap, long runs that come and go would leave holes that no later one fits into.
    """
    if length * _HALF < _OWN_PAGES:
        return _Run(np.empty(length, np.uint64), np.empty(length, np.uint64))
    pages = tuple(mmap(-1, length * _HALF, MAP_PRIVATE | MAP_ANONYMOUS) for _ in range(2))
    high, low = (np.frombuffer(half, np.uint64) for half in pages)
    return _Run(high, low, pages=pages)


def _mapped(folder: Path, length: int) -> Keys:
    """A half in a new file.

    Raises:
        OSError: the disk has no room for it.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        # Room that is only missed when a mapped page is written kills the process (SIGBUS).
        reserve = getattr(os, "posix_fallocate", None)  # which macOS does not have
        if reserve is not None:
            reserve(file.fileno(), 0, length * _HALF)
        file.truncate(length * _HALF)
        return np.frombuffer(mmap(file.fileno(), length * _HALF), np.uint64)


def _limits(parts: int) -> list[np.uint64]:
    """The highest key of each of as many equal ranges: digests are spread evenly."""
    return [np.uint64(2**64 * (part + 1) // parts - 1) for part in range(parts)]


def _in_order(mask: Mask, order: NDArray[np.intp]) -> Mask:
    unsorted = np.empty_like(mask)
    unsorted[order] = mask
    return unsorted
