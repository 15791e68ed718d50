"""Answers of a model that were computed before: one file per model, safe among racing processes.

Belongs here: keys, answers and what is thrown away first. Does not belong here: how the file
survives damage (:mod:`~ft_assets.evaluation.cache_file`), what a request is and when the model is
asked after all (:mod:`~ft_assets.evaluation.cache_model`), and what of the evaluation's settings
changes numbers (:mod:`~ft_assets.evaluation.cache_context`).

A task's version here is its author's, and that of our scoring: what a request's own text does not
show. Neither the documents nor the number of examples belong in it, which are in the text of each
request: the fewer things are in it, the more a second evaluation finds.

The key of an answer is the SHA-256 of: the context (what changes numbers), the task version, the
kind of request, its arguments in canonical JSON (with the generation arguments) and, where answers
are drawn, the seed and the number of the draw. Values are JSON, never pickles: a file from a shared
disk can be wrong but cannot run code. lm-eval's own ``CachingLM`` pickles into sqlitedict, knows
neither model digest nor task version nor our request type ``score_chat``, and skips sampled
answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from ft_assets.evaluation.cache_file import (
    CacheFile,
    DamagedError,
    checksum_of,
    is_damage,
    pragma,
    transaction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

MAX_BYTES = 4 * 2**30
"""Size of one model's file beyond which the answers least recently used are removed."""

_log = logging.getLogger(__name__)

_REFRESH = 3600  # seconds after which a reader marks an entry as used once more
_KEEP = 0.9  # share of the bound that remains after entries were removed
_AT_ONCE = 500  # keys per query

_SELECT = "SELECT number, key, value, checksum, used FROM answers WHERE key IN ({})"


class ResultCache:
    """The answers of one model under one set of circumstances.

    Args:
        folder: Where the files of all models are; made when it is missing.
        model_digest: Names the model's content.
        context: All else that changes numbers (JSON); another context finds nothing.
        max_bytes: Bound on the size of the model's file.
        clock: Seconds since 1970; decides what was used least recently.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        model_digest: str,
        context: Mapping[str, Any],
        *,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not model_digest:
            raise ValueError("a cache needs the digest of the model")
        name = model_digest.rpartition(":")[2]
        if not re.fullmatch(r"[0-9A-Za-z_-]{8,128}", name):
            name = hashlib.sha256(model_digest.encode()).hexdigest()
        self._file = CacheFile(folder / name[:2] / f"{name}.db", model_digest)
        self._context = _digest(context)
        self._max_bytes = max_bytes
        self._clock = clock
        self._broken = False  # whether a write failed: said once, then left alone

    @property
    def path(self) -> Path:
        """Of the model's file."""
        return self._file.path

    def key(
        self,
        task_version: str,
        request_type: str,
        arguments: Sequence[Any],
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The name of an answer, as 64 hexadecimal digits.

        Raises:
            TypeError: an argument is no JSON value.
        """
        return _digest([self._context, task_version, request_type, list(arguments), extra or {}])

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The known answers among these keys; none where the disk fails, which the log says."""
        wanted = list(dict.fromkeys(keys))

        def read(database: sqlite3.Connection) -> dict[str, Any]:
            found: dict[str, Any] = {}
            stale: list[int] = []
            now = int(self._clock())
            for start in range(0, len(wanted), _AT_ONCE):
                part = [bytes.fromhex(key) for key in wanted[start : start + _AT_ONCE]]
                query = _SELECT.format(",".join("?" * len(part)))
                for number, key, value, checksum, used in database.execute(query, part):
                    if checksum != checksum_of(key, value):
                        raise DamagedError(f"the answer {key.hex()} does not match its checksum")
                    found[key.hex()] = json.loads(value)
                    if now - used > _REFRESH:
                        stale.append(number)
            self._mark(database, stale, now)
            return found

        try:
            return self._file.use(read)
        except sqlite3.OperationalError as error:
            self._give_up(error)
            return {}

    def put_many(self, items: Iterable[tuple[str, Any]]) -> int:
        """Keep these answers, all or (when killed) none of them; how many were kept.

        An answer that holds NaN or an infinite number is not kept: it is as likely the machine's
        fault as the model's, and asking again is how one finds out. A disk that is full or fails
        is reported once in the log; the evaluation goes on without keeping answers.
        """
        if self._broken:
            return 0
        rows: list[tuple[bytes, bytes, bytes, int]] = []
        now = int(self._clock())
        for key, value in items:
            try:
                text = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
            except ValueError:
                continue
            raw = bytes.fromhex(key)
            rows.append((raw, text, checksum_of(raw, text), now))

        def write(database: sqlite3.Connection) -> int:
            with transaction(database):
                database.executemany(
                    "INSERT INTO answers (key, value, checksum, used) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
                    "checksum = excluded.checksum, used = excluded.used",
                    rows,
                )
                self._shrink(database)
            database.execute("PRAGMA incremental_vacuum").fetchall()
            return len(rows)

        try:
            return self._file.use(write) if rows else 0
        except sqlite3.OperationalError as error:
            self._give_up(error)
            return 0

    def __len__(self) -> int:
        """Answers in the model's file, of all contexts."""
        query = "SELECT count(*) FROM answers"
        return self._file.use(lambda database: int(database.execute(query).fetchone()[0]))

    def _mark(self, database: sqlite3.Connection, numbers: Sequence[int], now: int) -> None:
        if not numbers or self._broken:
            return
        try:
            with transaction(database):
                database.executemany(
                    "UPDATE answers SET used = ? WHERE number = ?", [(now, n) for n in numbers]
                )
        except sqlite3.OperationalError as error:
            if is_damage(error):
                raise
            self._give_up(error)

    def _shrink(self, database: sqlite3.Connection) -> None:
        """Remove the answers least recently used until the file has room again."""
        if _used_bytes(database) <= self._max_bytes:
            return
        removed = 0
        while _used_bytes(database) > self._max_bytes * _KEEP:
            count = int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
            if not count:
                break
            removed += database.execute(
                "DELETE FROM answers WHERE number IN "
                "(SELECT number FROM answers ORDER BY used, number LIMIT ?)",
                (max(1, count // 10),),
            ).rowcount
        _log.warning(
            "%s passed %d bytes: the %d results least recently used were removed",
            self.path,
            self._max_bytes,
            removed,
        )

    def _give_up(self, error: sqlite3.OperationalError) -> None:
        if is_damage(error):
            raise error
        self._broken = True
        _log.warning("%s: %s: no more results are kept in this evaluation", self.path, error)


def _digest(value: Any) -> str:
    """SHA-256 of the value's canonical JSON; every character outside ASCII is escaped."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _used_bytes(database: sqlite3.Connection) -> int:
    pages = pragma(database, "page_count") - pragma(database, "freelist_count")
    return pages * pragma(database, "page_size")
