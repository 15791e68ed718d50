"""What cannot fit is refused; what a file system does not say is not."""

import os

import pytest

from resources.free_room import refuse_what_does_not_fit


def test_more_than_there_is_is_refused_with_what_is_asked_for_and_what_is_free(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        refuse_what_does_not_fit(file.fileno(), 1000)
        with pytest.raises(OSError, match=r"1000000000000000000 bytes .* and \d+ are free"):
            refuse_what_does_not_fit(file.fileno(), 10**18)


def test_a_file_system_without_blocks_is_not_asked():
    reading, writing = os.pipe()
    try:
        refuse_what_does_not_fit(writing, 10**18)
    finally:
        os.close(reading)
        os.close(writing)
