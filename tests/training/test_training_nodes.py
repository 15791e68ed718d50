"""Node 0 prepares and judges; the others wait for it, end as it does, and never hang."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path

import pytest

from ft_assets.training import nodes
from ft_assets.training.nodes import Ended, FirstNode, NodeLostError, OtherNode
from resources.errors import UserError

PATIENT, IMPATIENT = timedelta(seconds=30), timedelta(seconds=0.3)


class Beside:
    """Something that another node does meanwhile."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._future: Future[object] = Future()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # raised again by result()
            self._future.set_exception(error)

    def result(self) -> object:
        return self._future.result(timeout=30)


def test_the_others_begin_when_node_0_has_prepared(tmp_path: Path) -> None:
    other = OtherNode(tmp_path, 1, PATIENT)
    waiting = Beside(other.wait_until_ready)
    first = FirstNode(tmp_path, 2, PATIENT)
    first.ready(Path("/models/base"))
    assert waiting.result() == Path("/models/base")
    other.end(Ended(status=0))
    ending = Beside(other.wait_for_the_end)
    first.end(Ended(status=0))
    assert ending.result() == Ended(status=0)


def test_what_an_earlier_attempt_left_says_nothing(tmp_path: Path) -> None:
    before = OtherNode(tmp_path, 1, PATIENT)
    waiting = Beside(before.wait_until_ready)
    first = FirstNode(tmp_path, 2, PATIENT)
    first.ready(Path("/models/base"))
    waiting.result()
    first.end(Ended(status=2, message="old"))
    # Node 1 of the next attempt is earlier than node 0: it waits for the new one.
    again = OtherNode(tmp_path, 1, IMPATIENT)
    with pytest.raises(NodeLostError, match=r"node 0 gave no sign of life for 0\.3 s"):
        again.wait_until_ready()
    again = OtherNode(tmp_path, 1, PATIENT)
    waiting = Beside(again.wait_until_ready)
    first = FirstNode(tmp_path, 2, PATIENT)
    first.ready(Path("/models/other"))
    assert waiting.result() == Path("/models/other")
    first.end(Ended(status=0))


def test_a_refusal_of_node_0_reaches_those_that_wait(tmp_path: Path) -> None:
    waiting = Beside(OtherNode(tmp_path, 1, PATIENT).wait_until_ready)
    first = FirstNode(tmp_path, 2, PATIENT)
    while not json.loads((tmp_path / "nodes" / "node-0.json").read_text())["known"]:
        time.sleep(0.05)
    first.end(Ended(status=2, message="row 7 is bad: mend it"))
    with pytest.raises(UserError, match="row 7 is bad: mend it"):
        waiting.result()


@pytest.mark.parametrize(
    ("status", "kind"), [(2, UserError), (130, KeyboardInterrupt), (1, RuntimeError)]
)
def test_node_0_ends_as_a_node_that_cannot_take_part(
    tmp_path: Path, status: int, kind: type[BaseException]
) -> None:
    first = FirstNode(tmp_path, 3, PATIENT)
    OtherNode(tmp_path, 2, PATIENT).end(Ended(status=status, message="no space"))
    with pytest.raises(kind, match="no space" if status != 130 else None):
        first.ready(Path("/models/base"))
    first.end(Ended(status=status))


def test_what_waits_for_a_node_that_failed_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_NOTICE_SECONDS", 0.1)
    stopped = threading.Event()
    first = FirstNode(tmp_path, 2, PATIENT, stopped.set)
    OtherNode(tmp_path, 1, PATIENT).end(Ended(status=1))
    assert stopped.wait(30)
    first.end(Ended(status=1))


def test_a_node_that_never_comes_is_named(tmp_path: Path) -> None:
    first = FirstNode(tmp_path, 3, IMPATIENT)
    with pytest.raises(NodeLostError, match=r"node 1 did not start within 0\.3 s"):
        first.ready(Path("/models/base"))
    first.end(Ended(status=1))


def test_a_node_0_that_is_lost_while_it_prepares_is_waited_for_no_longer(tmp_path: Path) -> None:
    first = FirstNode(tmp_path, 2, PATIENT)
    other = OtherNode(tmp_path, 1, timedelta(seconds=2))
    waiting = Beside(other.wait_until_ready)
    first._stop.set()  # as if its machine had stopped  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(NodeLostError, match="did not start or was lost, or the nodes do not share"):
        waiting.result()
