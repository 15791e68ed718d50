"""The events of a Chrome trace, one at a time, in constant memory, from a file nobody vouches for.

torch.profiler writes one JSON object whose ``traceEvents`` is a list of hundreds of thousands of
small objects. They are decoded one by one out of a buffer; nothing else is kept.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from resources.errors import UserError

MAX_BYTES = 8 << 30
"""Unpacked size that is read at most."""
MAX_EVENT = 1 << 20
"""Characters of one event, or of one other value of the trace, at most."""
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder()


def read_events(file: Path) -> Iterator[dict[str, Any]]:
    """The events of a trace, gzipped or not, in the order of the file.

    Raises:
        UserError: no trace, cut off, damaged, or larger than the limits above.
    """
    try:
        with _opened(file) as stream:
            yield from _Reader(file, stream).events()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad(file, "is cut off or damaged") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _bad(file, "is no text") from error
    except RecursionError as error:
        raise _bad(file, "is nested too deeply") from error


@contextmanager
def _opened(file: Path) -> Generator[IO[bytes]]:
    with file.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield cast("IO[bytes]", unpacked)


class _Reader:
    """A window of text that moves over the file, and JSON values taken from its front."""

    def __init__(self, file: Path, stream: IO[bytes]) -> None:
        self.file = file
        self.stream = stream
        self.decode = codecs.getincrementaldecoder("utf-8")()
        self.text = ""
        self.at = 0
        self.read = 0
        self.ended = False

    def events(self) -> Iterator[dict[str, Any]]:
        """Walk over the keys of the outer object; yield what is in ``traceEvents``."""
        found = False
        self.expect("{")
        while self.peek() != "}":
            key = self.value()
            self.expect(":")
            if key == "traceEvents" and self.peek() == "[":
                found = True
                yield from self.items()
            else:
                self.value()
            if self.peek() != "}":
                self.expect(",")
        if not found:
            raise _bad(self.file, 'has no list "traceEvents"')

    def items(self) -> Iterator[dict[str, Any]]:
        number = 0
        self.expect("[")
        while self.peek() != "]":
            number += 1
            event = self.value()
            if not isinstance(event, dict):
                raise _bad(self.file, f"has an event that is no object (number {number})")
            yield cast("dict[str, Any]", event)
            if self.peek() != "]":
                self.expect(",")
        self.expect("]")

    def peek(self) -> str:
        """The next character that is no space."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                raise _bad(self.file, "is cut off or damaged")

    def expect(self, character: str) -> None:
        if self.peek() != character:
            raise _bad(self.file, "is no Chrome trace, or a damaged one")
        self.at += 1

    def value(self) -> Any:
        """The next JSON value, with more text read as long as it is not whole."""
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self.text, self.at)
            except ValueError as error:  # not whole yet, or wrong: more text tells
                # What is wrong already stays wrong; what is not whole stays below the limit.
                if len(self.text) - self.at > MAX_EVENT or not self.more():
                    raise _bad(self.file, "is cut off or damaged") from error
                continue
            if end == len(self.text) and self.more():
                continue  # a number may go on in the next chunk
            self.at = end
            return value

    def more(self) -> bool:
        """Read on, and let go of what was passed; False at the end of the file."""
        if self.ended:
            return False
        chunk = self.stream.read(_CHUNK)
        self.ended = not chunk
        self.read += len(chunk)
        if self.read > MAX_BYTES:
            raise _bad(self.file, f"is larger than {MAX_BYTES >> 30} GiB unpacked")
        self.text = self.text[self.at :] + self.decode.decode(chunk, final=self.ended)
        self.at = 0
        return True


def _bad(file: Path, what: str) -> UserError:
    return UserError(
        f"{file}: the trace {what}: record it again (training.profiler_steps), or copy it again "
        "from where it was recorded"
    )
