"""What the nodes of one training tell each other through files in the run folder they share.

Node 0 keeps ``nodes/node-0.json``: whether everything is prepared, and how the run ended. Each
other node keeps ``nodes/node-N.json``: that it is there, and how its part ended. Every file is
replaced in one act. A file that an earlier attempt left says nothing: each other node gives itself
a token, and believes only a node 0 that repeats it. A counter that moves is the sign of life, so
that no clock has to agree with another.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from resources.errors import UserError
from resources.launcher.child import INTERRUPTED_EXIT, USER_ERROR_EXIT
from resources.record import Record

FOLDER = "nodes"
"""In the run folder."""

Kind = TypeVar("Kind", bound=BaseModel)

_BEAT_SECONDS = 0.5
_LOOK_SECONDS = 0.2
_NOTICE_SECONDS = 30.0
"""In which processes notice by themselves that those of a failed node are gone."""


class NodeLostError(Exception):
    """Another node never came, or gives no sign of life any more."""


class Ended(Record):
    """How a node's part ended: 0, 1, 2 (bad input) or 130 (interrupted), and why."""

    status: int
    message: str = ""
    lost: bool = False
    """Whether it only ended because another node had."""

    def raise_again(self, node: int) -> None:
        """End as the other node did; nothing happens where it ended well.

        Raises:
            UserError: bad input; its own words.
            KeyboardInterrupt: it was told to end.
            RuntimeError: it failed.
        """
        if self.status == USER_ERROR_EXIT:
            raise UserError(self.message)
        if self.status == INTERRUPTED_EXIT:
            raise KeyboardInterrupt
        if self.status:
            raise RuntimeError(f"node {node} failed: {self.message}")


class Board(Record):
    """Node 0's file."""

    beat: int = 0
    known: dict[int, str] = Field(default_factory=dict[int, str])
    """The tokens of the nodes that are there."""
    base: str | None = None
    """The base model's folder, when everything is prepared."""
    ended: Ended | None = None


class Note(Record):
    """Another node's file."""

    token: str
    ended: Ended | None = None


class FirstNode:
    """Node 0's side: it tells the others how far it is, in a thread, until it ends."""

    def __init__(
        self,
        run_dir: Path,
        nodes: int,
        patience: timedelta,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to tell.

        Args:
            run_dir: the run's folder, which all nodes share.
            nodes: how many there are.
            patience: how long a node may stay away.
            stop: ends this node's processes; called when another node has failed and they go on
                all the same, waiting for it.
        """
        self._folder = run_dir / FOLDER
        self._others = range(1, nodes)
        self._patience = patience
        self._stop_processes = stop
        self._failed_at: float | None = None
        self._board = Board()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)  # another node may be as quick
        self._change()
        self._thread.start()

    def ready(self, base: Path) -> None:
        """Wait until all nodes are there, and say that everything is prepared.

        Raises:
            UserError: one of them cannot take part.
            NodeLostError: one did not come in time.
        """
        ends = time.monotonic() + self._patience.total_seconds()
        while missing := [node for node in self._others if node not in self._board.known]:
            self._raise_what_ended()
            if time.monotonic() > ends:
                raise NodeLostError(
                    f"node {missing[0]} did not start within "
                    f"{self._patience.total_seconds():g} s: look for its pod (is there room for "
                    "it?)"
                )
            time.sleep(_LOOK_SECONDS)
        self._raise_what_ended()
        self._change(base=str(base))  # last: from here on an end is that of a training

    def why(self, seconds: float, *, lost: bool) -> None:
        """Raise what another node ended with, when it says so within ``seconds``.

        Args:
            seconds: how long to wait for it.
            lost: whether this node ended only because another one had. Else its own failure is
                the reason, unless another node refused its input or was told to end.

        Raises:
            UserError: see :meth:`Ended.raise_again`, as the others.
        """
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for node, ended in self._ended():
                if not ended.lost and (lost or ended.status != 1):
                    ended.raise_again(node)
            time.sleep(_LOOK_SECONDS)

    def end(self, ended: Ended) -> None:
        """Say how the run ended, and stop."""
        self._stop.set()
        self._thread.join()
        self._change(ended=ended)

    def _raise_what_ended(self) -> None:
        for node, ended in self._ended():
            ended.raise_again(node)

    def _ended(self) -> list[tuple[int, Ended]]:
        """The other nodes that have ended in this attempt, and how."""
        notes = [(node, self._note(node)) for node in self._others]
        return [
            (node, note.ended)
            for node, note in notes
            if note and note.ended and note.token == self._board.known.get(node)
        ]

    def _stop_what_waits(self) -> None:
        """Another node failed, and this node's processes may wait for it for hours."""
        if not any(ended.status in (1, USER_ERROR_EXIT) for _, ended in self._ended()):
            return
        if self._failed_at is None:
            self._failed_at = time.monotonic()
        elif time.monotonic() - self._failed_at > _NOTICE_SECONDS:
            self._stop_processes()

    def _note(self, node: int) -> Note | None:
        return _read(self._folder / f"node-{node}.json", Note)

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS if self._board.beat else 0):
            notes = {node: self._note(node) for node in self._others}
            known = {node: note.token for node, note in notes.items() if note is not None}
            self._change(known={**self._board.known, **known}, beat=self._board.beat + 1)
            self._stop_what_waits()

    def _change(self, **values: object) -> None:
        with self._lock:
            self._board = self._board.model_copy(update=values)
            _write(self._folder / "node-0.json", self._board)


class OtherNode:
    """The side of every node but the first."""

    def __init__(self, run_dir: Path, rank: int, patience: timedelta) -> None:
        self._folder = run_dir / FOLDER
        self._rank = rank
        self._patience = patience
        self._note = Note(token=uuid.uuid4().hex)

    def wait_until_ready(self) -> Path:
        """Say that this node is there; returns the base model's folder when all is prepared.

        Raises:
            UserError: node 0 refused the run.
            KeyboardInterrupt: node 0 was told to end.
            RuntimeError: node 0 failed.
            NodeLostError: node 0 gives no sign of life.
        """
        board = self._wait(lambda board: board.base is not None or board.ended is not None)
        if board.ended is not None:
            board.ended.raise_again(0)
        if board.base is None:
            raise RuntimeError("node 0 ended before it began to train")
        return Path(board.base)

    def end(self, ended: Ended) -> None:
        """Say how this node's part ended."""
        self._note = self._note.model_copy(update={"ended": ended})
        self._announce()

    def wait_for_the_end(self, patience: timedelta | None = None) -> Ended:
        """How the run ended, as node 0 says.

        Raises:
            NodeLostError: node 0 gives no sign of life.
        """
        ended = self._wait(lambda board: board.ended is not None, patience).ended
        assert ended is not None
        return ended

    def _wait(self, until: Callable[[Board], bool], patience: timedelta | None = None) -> Board:
        seconds = (patience or self._patience).total_seconds()
        beat, ends = -1, time.monotonic() + seconds
        while True:
            board = self._announce()
            if board is not None and until(board):
                return board
            if board is not None and board.beat != beat:
                beat, ends = board.beat, time.monotonic() + seconds
            if time.monotonic() > ends:
                raise NodeLostError(
                    f"node 0 gave no sign of life for {seconds:g} s in "
                    f"{self._folder / 'node-0.json'}: it did not start or was lost, or the nodes "
                    "do not share this folder (kubernetes: one ReadWriteMany volume)"
                )
            time.sleep(_LOOK_SECONDS)

    def _announce(self) -> Board | None:
        """Node 0's file when it knows this node; else this node's file is written, once more.

        Node 0 begins by removing what an earlier attempt left, and may have taken this one's away.
        """
        mine = self._folder / f"node-{self._rank}.json"
        if _read(mine, Note) != self._note:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                _write(mine, self._note)
            except FileNotFoundError:
                return None  # just now node 0 took the folder away
        board = _read(self._folder / "node-0.json", Board)
        knows = board is not None and board.known.get(self._rank) == self._note.token
        return board if knows else None


def _read(file: Path, kind: type[Kind]) -> Kind | None:
    """A file's content; None where there is none, or one of another version of this project."""
    try:
        return kind.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _write(file: Path, content: BaseModel) -> None:
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    partial.write_text(content.model_dump_json())
    partial.replace(file)
