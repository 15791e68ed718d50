"""A file of a draft is read once for its digest, as long as it is the one that was read."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
from blake3 import blake3

from resources.store import file_digests
from resources.store.file_digests import FileDigests


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that are read."""
    read: list[Path] = []
    real = file_digests.digests_of

    def digests_of(path: Path) -> tuple[str, str]:
        read.append(path)
        return real(path)

    monkeypatch.setattr(file_digests, "digests_of", digests_of)
    return read


def test_a_file_is_read_once(tmp_path, reads):
    (tmp_path / "a").write_bytes(b"one")
    digests = FileDigests(tmp_path)
    first = digests.of("a")
    assert (first.path, first.size) == ("a", 3)
    assert digests.of("a") == first
    assert reads == [tmp_path / "a"]


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 19) + 1])
def test_both_digests_are_of_the_whole_file(tmp_path, size):
    content = random.Random(size).randbytes(size)
    (tmp_path / "a").write_bytes(content)
    file = FileDigests(tmp_path).of("a")
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert file.blake3 == blake3(content).hexdigest()


def test_a_file_that_was_written_again_is_read_again(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    digests = FileDigests(tmp_path)
    digests.of("a")
    before = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # however coarse its clock
    assert digests.of("a").sha256 == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_took_its_place_is_read(tmp_path):
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"one")
    digests = FileDigests(tmp_path)
    digests.of("a")
    before = file.stat()
    other.write_bytes(b"two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert digests.of("a").sha256 == hashlib.sha256(b"two").hexdigest()
