"""Room is reserved before it is filled, so that a full disk shows at once."""

import os
import sys
from pathlib import Path

import pytest

from resources.reserved_room import reserve

MB = 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fallocate(2) is Linux's")


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "file").open("wb") as opened:
        if not reserve(opened.fileno(), 0, 1):
            pytest.skip("the file system does not reserve room")
        yield opened


def taken(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_the_room_is_taken_and_the_file_is_no_longer_for_it(file):
    assert reserve(file.fileno(), 0, 8 * MB)
    assert taken(Path(file.name)) >= 8 * MB
    assert Path(file.name).stat().st_size == 0


def test_what_is_not_written_to_is_given_back_when_the_file_is_cut_there(file):
    reserve(file.fileno(), 0, 8 * MB)
    file.write(b"x" * MB)
    file.truncate(MB)
    assert MB <= taken(Path(file.name)) < 2 * MB


def test_more_than_there_is_is_refused_with_what_is_asked_for_and_what_is_free(file):
    system = os.fstatvfs(file.fileno())
    size = (system.f_blocks + 1000) * system.f_frsize
    with pytest.raises(OSError, match=rf"{size} bytes are to be written, and \d+ are free"):
        reserve(file.fileno(), 0, size)
    assert taken(Path(file.name)) < MB


def test_where_there_is_no_such_choice_nothing_is_reserved():
    reading, writing = os.pipe()
    try:
        assert not reserve(writing, 0, MB)
    finally:
        os.close(reading)
        os.close(writing)
