"""What one node of a job does, as the process that the job starts: status, error.json, outcome."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training import node
from ft_assets.training.nodes import NodeLostError
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.place import NODE_RANK, PET, Place, place_of
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError

OUTCOME = TrainOutcome(
    model_dir="m", base_model_dir="b", steps=1, epochs=1.0, rows=1, rows_too_long=0,
    rows_untrained=0, rows_cut=0, tokens=1, trained_tokens=1, train_seconds=1.0,
    tokens_per_second=1.0, first_loss=1.0, last_loss=1.0, peak_memory_mib=1.0,
    resumed_from_step=0, settings={},
)  # fmt: skip


@pytest.fixture
def plan(plan_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """For two nodes; nothing of it is trained here."""
    file = plan_file()
    written = TrainPlan.model_validate_json(file.read_text())
    world = {"nnodes": 2, "nproc_per_node": 1, "master_addr": "node-0"}
    parameters = {**written.parameters, **world}
    file.write_text(written.model_copy(update={"parameters": parameters}).model_dump_json())
    (file.parent / "error.json").write_text('{"message": "of an earlier attempt"}')
    (file.parent / "outcome.json").write_text("{}")
    monkeypatch.setenv("FT_NODES_TIMEOUT", "20")
    monkeypatch.setattr(node, "die_with_parent", lambda: None)
    monkeypatch.setattr("resources.launcher.child.die_with_parent", lambda: None)
    monkeypatch.setattr(node, "_GRACE", timedelta(seconds=2))
    for name in (*PET, "DAGSTER_PIPES_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return file


@pytest.fixture
def both(plan: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run both nodes, with what each does in place of training; their statuses and error.json."""

    def run(
        first: Callable[[], Any],
        other: Callable[[], Any],
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, int, dict[str, str] | None]:
        def train_as(*_: Any, prepared: Callable[[], None], **__: Any) -> TrainOutcome:
            prepared()
            first()
            return OUTCOME

        def train_beside(*_: Any) -> None:
            other()

        def here(plan: TrainPlan, _: Any) -> Place:
            on_first = threading.current_thread() is threading.main_thread()
            return place_of(plan, {} if on_first else {NODE_RANK: "1", **(environment or {})})

        monkeypatch.setattr(node, "train_as", train_as)
        monkeypatch.setattr(node, "train_beside", train_beside)
        monkeypatch.setattr(node, "place_of", here)
        monkeypatch.setattr(node, "rank_of", lambda _: 1)  # asked on the other node alone
        statuses: list[int] = []
        beside = threading.Thread(
            target=lambda: statuses.append(node._other_node(plan))  # pyright: ignore[reportPrivateUsage]
        )
        beside.start()
        status = node.main([str(plan)])
        beside.join()
        error = plan.parent / "error.json"
        return status, statuses[0], json.loads(error.read_text()) if error.exists() else None

    return run


def nothing() -> None:
    pass


def fails(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_both_end_well_and_the_outcome_is_written_once(plan: Path, both: Any) -> None:
    assert both(nothing, nothing) == (0, 0, None)
    assert TrainOutcome.load(plan.parent) == OUTCOME
    assert json.loads((plan.parent / "nodes" / "node-0.json").read_text())["ended"]["status"] == 0


@pytest.mark.parametrize(
    ("first", "other", "status", "message"),
    [
        (fails(UserError("lower it")), fails(OSError("connection closed")), 2, "lower it"),
        (fails(OSError("connection closed")), fails(UserError("lower it")), 2, "lower it"),
        (fails(KeyboardInterrupt()), fails(KeyboardInterrupt()), 130, None),
        (fails(OSError("connection closed")), fails(KeyboardInterrupt()), 130, None),
        (fails(OSError("connection closed")), fails(RuntimeError("killed")), 1, None),
        (fails(NodeLostError("no answer")), fails(UserError("lower it")), 2, "lower it"),
        (fails(NodeLostError("no answer")), fails(NodeLostError("no answer")), 1, None),
        (fails(RuntimeError("killed")), nothing, 1, None),
        (fails(UserError("not finite")), nothing, 2, "not finite"),
    ],
)
def test_both_end_with_the_same_status_and_one_error(
    plan: Path, both: Any, *, first: Any, other: Any, status: int, message: str | None
) -> None:
    said = None if message is None else {"message": message}
    assert both(first, other) == (status, status, said)
    assert TrainOutcome.load(plan.parent) is None


def test_the_reason_of_another_node_is_node_0s_too(both: Any, capsys: Any) -> None:
    killed = fails(RuntimeError("rank 1 was killed: memory"))
    both(fails(NodeLostError("no answer")), killed)
    assert "node 1 failed: rank 1 was killed: memory" in capsys.readouterr().err
    both(killed, fails(NodeLostError("no answer")))
    assert "node 1 failed" not in capsys.readouterr().err


def test_a_node_that_is_not_of_the_plan_ends_the_other_too(both: Any) -> None:
    first, other, said = both(nothing, nothing, {"PET_NNODES": "3"})
    assert (first, other) == (2, 2)
    assert said["message"].startswith("PET_NNODES: 3: the plan is for 2")
