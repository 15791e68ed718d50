"""Which side of the split a row is on, and whether it is in the subset: keyed hashes, no more.

A row's hash depends on its id (or its group) and the seed, on nothing else: not on its place, not
on other rows. So equal rows are on one side and a row keeps its side when the dataset grows.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

ROW, GROUP, SUBSET = b"ft-assets side", b"ft-assets group", b"ft-assets subset"

_BYTES = 8


def in_training(row_id: str, *, ratio: float, seed: int, group: str | None = None) -> bool:
    """Whether the row with this id, or of this group, is on the training side."""
    key, purpose = (row_id, ROW) if group is None else (group, GROUP)
    return bool(below([key.encode()], ratio, seed, purpose)[0])


def below(keys: Iterable[bytes], share: float, seed: int, purpose: bytes) -> NDArray[np.bool_]:
    """Which of the keys are in a random ``share`` (0 to 1) of all there could be."""
    hashes = keyed(keys, seed, purpose)
    limit = math.ceil(share * 2 ** (8 * _BYTES))
    if limit > np.iinfo(np.uint64).max:
        return np.ones(len(hashes), np.bool_)
    return hashes < np.uint64(limit)


def keyed(keys: Iterable[bytes], seed: int, purpose: bytes) -> NDArray[np.uint64]:
    """Hashes that are uniform over keys and independent between seeds and purposes."""
    start = hashlib.blake2b(digest_size=_BYTES, key=str(seed).encode(), person=purpose)
    digests: list[bytes] = []
    for key in keys:
        hash_ = start.copy()
        hash_.update(key)
        digests.append(hash_.digest())
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
