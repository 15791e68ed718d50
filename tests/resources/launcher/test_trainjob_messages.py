"""Reports of node 0 through a file that another machine writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster_pipes import PipesDefaultMessageWriter

from resources.launcher.trainjob.messages import SharedFileMessageReader, new_messages_file


class Handler:
    """Dagster's own part of a session."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.messages.append(message["method"])


def message(method: str, payload: Any = None) -> str:
    return json.dumps({"method": method, "params": {"payload": payload}}) + "\n"


def read(file: Path, write: Callable[[SharedFileMessageReader], None]) -> tuple[list[Any], Handler]:
    """What is heard while something writes, and what Dagster was given."""
    heard: list[Any] = []
    handler: Any = Handler()
    reader = SharedFileMessageReader(file, heard.append)
    with reader.read_messages(handler):
        write(reader)
    return heard, handler


def test_what_stands_in_the_file_already_is_heard_from_the_first(tmp_path):
    """A step that was killed and runs again finds the reports that nobody heard."""
    file = tmp_path / "m"
    file.write_text(message("opened") + message("report_custom_message", 1))

    def write(_: Any) -> None:
        with file.open("a") as stream:
            stream.write(message("report_custom_message", 2) + message("closed"))

    heard, handler = read(file, write)
    assert heard == [1, 2]
    assert handler.messages == ["opened", "closed"]


def test_a_line_is_heard_when_it_is_whole(tmp_path):
    file = tmp_path / "m"
    whole = message("report_custom_message", "ä")

    def write(reader: SharedFileMessageReader) -> None:
        file.write_bytes(whole.encode()[:20])
        reader.drain(0.6)
        with file.open("ab") as stream:
            stream.write(whole.encode()[20:])

    assert read(file, write)[0] == ["ä"]


def test_a_file_that_comes_late_is_waited_for(tmp_path):
    def write(reader: SharedFileMessageReader) -> None:
        reader.drain(0.3)
        (tmp_path / "m").write_text(message("report_custom_message", 1))

    assert read(tmp_path / "m", write)[0] == [1]
    assert read(tmp_path / "never", lambda _: None)[0] == []


def test_a_listener_that_fails_fails_the_step(tmp_path):
    file = tmp_path / "m"
    file.write_text(message("report_custom_message", 1))
    handler: Any = Handler()

    def fail(_: Any) -> None:
        raise LookupError("a bug of the listener")

    reader = SharedFileMessageReader(file, fail)
    with pytest.raises(LookupError, match="a bug of the listener"), reader.read_messages(handler):
        reader.drain(30.0)


def test_the_end_is_waited_for_no_longer_than_it_takes(tmp_path):
    file = tmp_path / "m"
    file.write_text(message("closed"))
    heard, _ = read(file, lambda reader: reader.drain(600.0))
    assert heard == []


def test_a_new_job_has_a_file_that_no_earlier_job_writes(tmp_path):
    first = new_messages_file(tmp_path)
    first.write_text(message("opened"))
    second = new_messages_file(tmp_path)
    assert second != first
    assert list(tmp_path.iterdir()) == [second]
    assert second.read_text() == ""


def test_the_node_learns_the_file_by_pipes_own_parameter(tmp_path):
    with SharedFileMessageReader(tmp_path / "m", print).read_messages(Handler()) as parameters:  # pyright: ignore[reportArgumentType]
        assert parameters == {PipesDefaultMessageWriter.FILE_PATH_KEY: str(tmp_path / "m")}
