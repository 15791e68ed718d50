"""Flipping one byte, and putting it back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def flipped(file: Path, at: int = 0) -> Generator[None]:
    """The file with one bit of one byte changed, for the length of the block."""
    before = file.read_bytes()
    content = bytearray(before)
    content[at] ^= 1
    file.write_bytes(bytes(content))
    try:
        yield
    finally:
        file.write_bytes(before)
