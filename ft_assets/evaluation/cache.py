"""Answers of a model that were computed before: one file per model, safe among racing processes.

Belongs here: the file. What a request is, and when the model is asked after all, stands in
:mod:`ft_assets.evaluation.cache_model`; what of the evaluation's settings changes numbers, in
:mod:`ft_assets.evaluation.cache_context`.

How an evaluation uses it (nothing more is needed in the worker)::

    lm = load(model, plan)              # a CachedModel when plan.cache and model.digest are set
    before_tasks(lm, {"arc_easy": "1:...", "held_out": "1:..."}, seed)   # of cache_model
    evaluate(lm, ...)                   # lm-eval's
    answered(lm)                        # (from the file, by the model); of cache_model

A task's version here needs what a request's own text does not show, such as the version of our
scoring; neither the documents nor the number of examples, which are in the text of each request.
The fewer things are in it, the more a second evaluation finds.

The key of an answer is the SHA-256 of: the context (what changes numbers), the task version, the
kind of request, its arguments in canonical JSON (with the generation arguments) and, where answers
are drawn, the seed and the number of the draw. Values are JSON, never pickles: a file from a shared
disk can be wrong but cannot run code. lm-eval's own ``CachingLM`` pickles into sqlitedict, knows
neither model digest nor task version nor our request type ``score_chat``, and skips sampled
answers.

The file is SQLite with a rollback journal (a write-ahead log needs memory shared by all readers,
which a network disk does not give). Every use opens it anew under a lock beside it, so that a file
that is not ours, or damaged, can be set aside while others use it. Each entry carries a checksum
over key and value: a flipped byte is found even where SQLite does not see it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import re
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path

MAX_BYTES = 4 * 2**30
"""Size of one model's file beyond which the answers least recently used are removed."""

T = TypeVar("T")

_log = logging.getLogger(__name__)

_APPLICATION = 0x66744543  # "ftEC", in the header of the file
_FORMAT = 1
_WAIT = 120.0  # seconds that a writer waits for another one
_REFRESH = 3600  # seconds after which a reader marks an entry as used once more
_KEEP = 0.9  # share of the bound that remains after entries were removed
_ATTEMPTS = 3  # of setting a damaged file aside
_AT_ONCE = 500  # keys per query

_SELECT = "SELECT number, key, value, checksum, used FROM answers WHERE key IN ({})"
_SCHEMA = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE answers (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, "
    "value BLOB NOT NULL, checksum BLOB NOT NULL, used INTEGER NOT NULL)",
)


class _DamagedError(Exception):
    """The file is no cache of this model, or no longer one."""


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
        self.path = folder / name[:2] / f"{name}.db"
        self._model = model_digest
        self._context = _digest(context)
        self._max_bytes = max_bytes
        self._clock = clock
        self._broken = False  # whether a write failed: said once, then left alone
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the folder {self.path.parent} of cached results ({error.strerror}): "
                "make it writable or name another folder"
            ) from error
        try:
            self._use(lambda _: None)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"cannot use {self.path} for cached results ({error}): make the folder writable or "
                "name another one"
            ) from error

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
                    if checksum != _checksum(key, value):
                        raise _DamagedError(f"the answer {key.hex()} does not match its checksum")
                    found[key.hex()] = json.loads(value)
                    if now - used > _REFRESH:
                        stale.append(number)
            self._mark(database, stale, now)
            return found

        try:
            return self._use(read)
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
            rows.append((raw, text, _checksum(raw, text), now))

        def write(database: sqlite3.Connection) -> int:
            with _transaction(database):
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
            return self._use(write) if rows else 0
        except sqlite3.OperationalError as error:
            self._give_up(error)
            return 0

    def __len__(self) -> int:
        """Answers in the model's file, of all contexts."""
        query = "SELECT count(*) FROM answers"
        return self._use(lambda database: int(database.execute(query).fetchone()[0]))

    def _mark(self, database: sqlite3.Connection, numbers: Sequence[int], now: int) -> None:
        if not numbers or self._broken:
            return
        try:
            with _transaction(database):
                database.executemany(
                    "UPDATE answers SET used = ? WHERE number = ?", [(now, n) for n in numbers]
                )
        except sqlite3.OperationalError as error:
            if _is_damage(error):
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

    def _use(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Act on the file; one that is damaged or not ours is set aside, and a new one begun."""
        for _ in range(_ATTEMPTS):
            try:
                return self._act(act)
            except (_DamagedError, sqlite3.DatabaseError) as error:
                if not _is_damage(error):
                    raise
                self._set_aside(str(error))
        return self._act(act)

    def _act(self, act: Callable[[sqlite3.Connection], T]) -> T:
        with self._locked(fcntl.LOCK_SH), self._opened() as database:
            return act(database)

    @contextmanager
    def _locked(self, kind: int) -> Generator[None]:
        """Hold the file's place: shared to use the file, alone to set it aside."""
        try:
            lock = self.path.with_suffix(".lock").open("a")
        except OSError as error:
            raise UserError(
                f"cannot write cached results to {self.path.parent} ({error.strerror}): make the "
                "folder writable or name another one"
            ) from error
        with lock:
            fcntl.flock(lock, kind)
            yield

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        """The file, with our tables in it, made where it is missing."""
        database = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            database.execute("PRAGMA trusted_schema = OFF")
            if not self._is_ours(database):
                self._create(database)
            yield database
        finally:
            database.close()

    def _is_ours(self, database: sqlite3.Connection) -> bool:
        """Whether the file is this model's cache; False where there is nothing in it yet."""
        application = _pragma(database, "application_id")
        if application == 0 and _pragma(database, "schema_version") == 0:
            return False
        if application != _APPLICATION or _pragma(database, "user_version") != _FORMAT:
            raise _DamagedError("it is no cache of evaluation results of this version")
        row = database.execute("SELECT value FROM about WHERE name = 'model'").fetchone()
        if row is None or row[0] != self._model:
            raise _DamagedError("it holds the results of another model")
        return True

    def _create(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        with _transaction(database):
            if self._is_ours(database):  # another process was faster
                return
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute("INSERT INTO about VALUES ('model', ?)", (self._model,))
            database.execute(f"PRAGMA user_version = {_FORMAT}")
            database.execute(f"PRAGMA application_id = {_APPLICATION}")

    def _set_aside(self, reason: str) -> None:
        """Rename the file, unless another process has done so since."""
        with self._locked(fcntl.LOCK_EX):
            if not self._damaged():
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            journal = self.path.with_name(f"{self.path.name}-journal")
            if journal.exists():  # it must never be applied to the new file
                journal.rename(aside.with_name(f"{aside.name}-journal"))
            self.path.rename(aside)
        _log.warning("set aside %s as %s: %s; its results are lost", self.path, aside.name, reason)

    def _damaged(self) -> bool:
        """Whether the file is damaged or not ours, from reading all of it."""
        try:
            with self._opened() as database:
                _verify(database)
        except (_DamagedError, sqlite3.DatabaseError) as error:
            if not _is_damage(error):
                raise
            return True
        return False

    def _give_up(self, error: sqlite3.OperationalError) -> None:
        if _is_damage(error):
            raise error
        self._broken = True
        _log.warning("%s: %s: no more results are kept in this evaluation", self.path, error)


def _verify(database: sqlite3.Connection) -> None:
    """Read all entries.

    Raises:
        _DamagedError: an entry or the file's structure is damaged.
    """
    if (said := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise _DamagedError(said)
    for key, value, checksum in database.execute("SELECT key, value, checksum FROM answers"):
        if checksum != _checksum(key, value):
            raise _DamagedError(f"the answer {key.hex()} does not match its checksum")


def _digest(value: Any) -> str:
    """SHA-256 of the value's canonical JSON; every character outside ASCII is escaped."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, key=key, digest_size=8).digest()


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _used_bytes(database: sqlite3.Connection) -> int:
    pages = _pragma(database, "page_count") - _pragma(database, "freelist_count")
    return pages * _pragma(database, "page_size")


@contextmanager
def _transaction(database: sqlite3.Connection) -> Generator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault, not the disk or the moment."""
    if isinstance(error, _DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
