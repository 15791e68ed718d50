"""What node 0 reports, through a file on the folder that the step and the nodes share.

Dagster Pipes' own protocol: the node writes each message as a line with its PipesFileMessageWriter.
Dagster's reader keeps the file open; over a network file system that shows old content, so that
this one opens it again for each look.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster._core.pipes.client import PipesMessageReader
from dagster._core.pipes.context import PipesMessageHandler
from dagster_pipes import PipesDefaultMessageWriter, PipesParams

_PREFIX = "messages-"
_PAUSE_SECONDS = 0.25
_CLOSED = "closed"


def new_messages_file(run_dir: Path) -> Path:
    """An empty file for a new job; those of earlier jobs go, though their nodes may still write."""
    for old in run_dir.glob(f"{_PREFIX}*.jsonl"):
        old.unlink()
    file = run_dir / f"{_PREFIX}{uuid.uuid4().hex}.jsonl"
    file.touch()
    return file


class SharedFileMessageReader(PipesMessageReader):
    """Hands each message of a file on, from its first: also of a job that an earlier step made."""

    def __init__(self, file: Path, on_custom: Callable[[Mapping[str, Any]], None]) -> None:
        """Read a file.

        Args:
            file: where node 0 writes; it may not be there yet.
            on_custom: given each custom message, in a thread; all others go Dagster's way.
        """
        self.file = file
        self._on_custom = on_custom
        self._offset = 0
        self._stop = threading.Event()
        self._closed = threading.Event()
        self._failure: Exception | None = None

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Generator[PipesParams]:
        """Read while the block lasts, and then what is left."""
        thread = threading.Thread(
            target=self._read, args=(handler,), name="reports of node 0", daemon=True
        )
        thread.start()
        try:
            yield {PipesDefaultMessageWriter.FILE_PATH_KEY: str(self.file)}
        finally:
            self._stop.set()
            thread.join()

    def check(self) -> None:
        """Raise what a listener raised, in the step's own thread."""
        if self._failure is not None:
            raise self._failure

    def drain(self, seconds: float) -> None:
        """Wait until node 0 has said that it is done, at most so long: files arrive late."""
        self._closed.wait(seconds)
        self.check()

    def no_messages_debug_text(self) -> str:
        """For Dagster's own warning."""
        return f"Attempted to read messages from {self.file}, which node 0 of the job writes."

    def _read(self, handler: PipesMessageHandler) -> None:
        try:
            while True:
                last = self._stop.is_set()
                for line in self._new_lines():
                    self._hand_on(json.loads(line), handler)
                if last:
                    return
                self._stop.wait(_PAUSE_SECONDS)
        except Exception as error:  # raised again in the step's own thread: check
            self._failure = error
            self._closed.set()

    def _new_lines(self) -> Generator[bytes]:
        """Whole lines only: the last may be half written."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._offset)
                for line in stream:
                    if line.endswith(b"\n"):
                        self._offset += len(line)
                        yield line
        except FileNotFoundError:
            return

    def _hand_on(self, message: Any, handler: PipesMessageHandler) -> None:
        if message["method"] == "report_custom_message":
            self._on_custom(message["params"]["payload"])
            return
        handler.handle_message(message)
        if message["method"] == _CLOSED:
            self._closed.set()
