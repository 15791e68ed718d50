"""What has been asked for: one row per drop in the instance's key-value table.

A row goes through ``asked 1, seen 1, asked 2, seen 2 ...`` and never back: every write is one
statement that the database takes only when it moves the row forward. So whoever writes first says
which version has which number, also when two daemons look at the same time, and whoever comes
second reads what stands there and asks for the same. Written before a run is asked for: a look that
is killed in between is made good by the next one, which finds the row ``asked`` and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import dagster as dg

from ft_assets.automation.new_data.state import SHORT
from ft_assets.automation.tags import AUTOMATIC

if TYPE_CHECKING:
    from dagster._core.storage.runs import RunStorage, SqlRunStorage

RUN_KEY = "dagster/run_key"
_KEYS_AT_ONCE = 500  # some databases take no more than 999 values in a statement
_NUMBER_DIGITS = 10
_ORDER = _NUMBER_DIGITS + 1
"""Characters at the beginning of a row that say how far it has come: number and state."""


@dataclass(frozen=True)
class Asked:
    """The newest version of a drop that a run was asked for."""

    number: int
    """1 for the drop's first version that was asked for."""
    token: str
    seen: bool
    """Whether the run was seen in the run storage."""
    by: str = ""
    """The key of another row's run, where that one is the run."""

    def run_key(self, drop: str) -> str:
        """The key under which Dagster makes one run and no second one."""
        return self.by or f"{drop}:{self.number}:{self.token[:SHORT]}"

    def row(self) -> str:
        """As it stands in the table; rows of one drop compare as text."""
        row = f"{self.number:0{_NUMBER_DIGITS}d}{int(self.seen)}{self.token}"
        return f"{row} {self.by}" if self.by else row

    @staticmethod
    def of_row(row: str) -> Asked:
        """What ``row`` wrote."""
        token, _, by = row[_ORDER:].partition(" ")
        seen = row[_NUMBER_DIGITS:_ORDER] == "1"
        return Asked(int(row[:_NUMBER_DIGITS]), token, seen=seen, by=by)


@dataclass(frozen=True)
class Turn:
    """Whose turn it was last to ask for something that there is room for."""

    number: int
    said: str = ""
    """What was written beside it, in the same statement."""


class Ledger:
    """The rows of one pipeline."""

    def __init__(self, storage: RunStorage, pipeline: str) -> None:
        self._storage = storage
        self._prefix = f"ft/asked/{pipeline}/"
        self._turn = f"ft/turn/{pipeline}"

    def read(self, drops: Iterable[str]) -> dict[str, Asked]:
        """What has been asked for of these drops; those that were never asked for are left out."""
        keys = sorted({self._prefix + drop for drop in drops})
        found: dict[str, Asked] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            rows = self._storage.get_cursor_values(set(keys[start : start + _KEYS_AT_ONCE]))
            found |= {key.removeprefix(self._prefix): Asked.of_row(rows[key]) for key in rows}
        return found

    def names(self) -> list[str]:
        """All that was ever asked for, in no order; one question, however much that is."""
        import sqlalchemy
        from dagster._core.storage.runs.schema import KeyValueStoreTable

        column = KeyValueStoreTable.c.key
        query = sqlalchemy.select(column).where(column.startswith(self._prefix, autoescape=True))
        with sql_storage(self._storage).connect() as connection:
            keys = [str(key) for key in connection.execute(query).scalars()]
        return [key.removeprefix(self._prefix) for key in keys if self._is_own(key)]

    def unseen(self, limit: int) -> dict[str, Asked]:
        """Rows whose run was asked for and not seen, at most so many; one question."""
        import sqlalchemy
        from dagster._core.storage.runs.schema import KeyValueStoreTable

        columns = KeyValueStoreTable.c
        query = (
            sqlalchemy.select(columns.key, columns.value)
            .where(columns.key.startswith(self._prefix, autoescape=True))
            .where(sqlalchemy.func.substr(columns.value, _ORDER, 1) == "0")
            .limit(limit)
        )
        with sql_storage(self._storage).connect() as connection:
            rows = [(str(key), str(row)) for key, row in connection.execute(query)]
        found = {key.removeprefix(self._prefix): row for key, row in rows if self._is_own(key)}
        return {name: Asked.of_row(row) for name, row in found.items()}

    def _is_own(self, key: str) -> bool:
        return key.startswith(self._prefix)  # some databases find other letter cases too

    def move(self, to: Mapping[str, Asked]) -> dict[str, Asked]:
        """Move rows forward, and give back what stands there now: another look may be ahead."""
        storage = sql_storage(self._storage)
        for drop, asked in to.items():
            put_forward(storage, self._prefix + drop, asked.row(), _ORDER)
        return self.read(to)

    def turn(self) -> Turn:
        """The turn that was taken last; its number counts those who have asked for something."""
        row = self._storage.get_cursor_values({self._turn}).get(self._turn, "0")
        return Turn(int(row[:_NUMBER_DIGITS]), row[_NUMBER_DIGITS:])

    def take(self, turn: Turn, said: str = "") -> bool:
        """Take the turn that comes after this one; False when another one has taken it."""
        storage = sql_storage(self._storage)
        row = f"{turn.number + 1:0{_NUMBER_DIGITS}d}{said}"
        return put_forward(storage, self._turn, row, _NUMBER_DIGITS)


def made(instance: dg.DagsterInstance, pipeline: str, run_key: str) -> list[dg.DagsterRun]:
    """The automatic runs of the pipeline with this key: none, one, or also those in its place."""
    runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY: run_key}))
    return [run for run in runs if run.tags.get(AUTOMATIC) == pipeline]


def launched(instance: dg.DagsterInstance, pipeline: str, run_key: str) -> bool:
    """Whether an automatic run of the pipeline with this key was launched.

    One that was made and not launched is asked for again: Dagster then launches it.
    """
    runs = made(instance, pipeline, run_key)
    return any(run.status is not dg.DagsterRunStatus.NOT_STARTED for run in runs)


def put_forward(storage: SqlRunStorage, key: str, value: str, order: int) -> bool:
    """Write a row whose first ``order`` characters are larger than those that stand there.

    Of those who write the same ones at the same time, it is True for one.
    """
    import sqlalchemy
    from dagster._core.storage.runs.schema import KeyValueStoreTable
    from sqlalchemy.exc import IntegrityError

    columns = KeyValueStoreTable.c
    forward = (
        KeyValueStoreTable.update()
        .where(columns.key == key)
        .where(sqlalchemy.func.substr(columns.value, 1, order) < value[:order])
        .values(value=value)
    )
    with storage.connect() as connection:
        if connection.execute(forward).rowcount:
            return True
    try:
        with storage.connect() as connection:
            connection.execute(KeyValueStoreTable.insert().values(key=key, value=value))
    except IntegrityError:  # there is a row: it is as far, or came between the two statements
        with storage.connect() as connection:
            return bool(connection.execute(forward).rowcount)
    return True


def sql_storage(storage: RunStorage) -> SqlRunStorage:
    """The database behind the instance's run storage, where one statement can be conditional."""
    from dagster._core.storage.legacy_storage import LegacyRunStorage

    if isinstance(storage, LegacyRunStorage):
        return sql_storage(storage._storage.run_storage)  # pyright: ignore[reportPrivateUsage]
    return cast("SqlRunStorage", storage)
