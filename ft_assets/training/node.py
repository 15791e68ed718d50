"""One node of a training over several: ``python -m ft_assets.training.node RUN_DIR/plan.json``.

Every node runs the same command, in an environment that says which one it is (``place.py``); the
run folder and the base model lie on a volume that all of them share. Node 0 does what the worker
does: it prepares base model and tokens, reports, verifies and writes the outcome as the last
thing. The others wait until it has prepared, train, and end with its status. Whatever any of them
refuses, node 0 writes to ``error.json``; how the run ended stands in ``nodes/node-0.json`` too.
"""

from __future__ import annotations

import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path

from ft_assets.training.base_folder import prepare, refuse_longer_rows
from ft_assets.training.limits import NODES_TIMEOUT, limit
from ft_assets.training.nodes import Ended, FirstNode, NodeLostError, OtherNode
from ft_assets.training.outcome import OUTCOME_FILE
from ft_assets.training.place import NODE_RANK, PET, Place, place_of, rank_of
from ft_assets.training.plan import TrainPlan
from ft_assets.training.torchrun import spare_processes, stop_processes
from ft_assets.training.worker import train, train_as, train_beside
from resources.errors import UserError
from resources.launcher.child import (
    INTERRUPTED_EXIT,
    USER_ERROR_EXIT,
    Reporter,
    die_with_parent,
    leave,
    run_worker,
)

_GRACE = timedelta(seconds=10)
"""How long a node whose processes were lost waits for another one to say why."""


def main(argv: list[str]) -> int:
    """Do this node's part and return the exit status, the same on all nodes."""
    if os.environ.get(NODE_RANK, "") in ("", "0"):
        return run_worker(_first_node, argv)
    return _other_node(Path(argv[0]))


def _first_node(plan_file: Path, report: Reporter) -> None:
    plan = TrainPlan.model_validate_json(plan_file.read_text())
    place = place_of(plan, os.environ)
    if place.nnodes == 1:
        train(plan_file, report)
        return
    run_dir = plan_file.parent
    (run_dir / OUTCOME_FILE).unlink(missing_ok=True)
    _hide_the_place()
    os.environ.update(plan.env)
    patience = limit(os.environ, NODES_TIMEOUT)
    spare_processes()
    others = FirstNode(run_dir, place.nnodes, patience, stop_processes)
    ended = Ended(status=1, message="it ended without a word")
    try:
        _train_first(plan, place, run_dir, report, others)
        ended = Ended(status=0)
    except UserError as error:
        ended = Ended(status=USER_ERROR_EXIT, message=str(error))
        raise
    except KeyboardInterrupt:
        ended = Ended(status=INTERRUPTED_EXIT)
        raise
    except Exception as error:  # passed on to the other nodes, and raised again
        ended = Ended(status=1, message=str(error))
        raise
    finally:
        others.end(ended)


def _train_first(
    plan: TrainPlan, place: Place, run_dir: Path, report: Reporter, others: FirstNode
) -> None:
    report("base model", 0, 1)
    base = prepare(plan.trained_from, Path(plan.models_dir))
    refuse_longer_rows(plan.trained_from, base, int(plan.parameters["max_seq_len"]))
    report("base model", 1, 1)

    def prepared() -> None:
        report("nodes", 0, place.nnodes)
        others.ready(base)
        report("nodes", place.nnodes, place.nnodes)

    try:
        outcome = train_as(plan, place, base, run_dir, report=report, prepared=prepared)
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:  # perhaps another node's failure that reached this one
        others.why(_GRACE.total_seconds(), lost=isinstance(error, NodeLostError))
        raise
    outcome.save(run_dir)


def _other_node(plan_file: Path) -> int:
    """The part of a node that is not the first; its log says how it ended."""
    die_with_parent()
    ended = Ended(status=0)
    node: OtherNode | None = None
    try:
        patience = limit(os.environ, NODES_TIMEOUT)
        node = OtherNode(plan_file.parent, rank_of(os.environ), patience)
        plan = TrainPlan.model_validate_json(plan_file.read_text())
        place = place_of(plan, os.environ)
        _hide_the_place()
        os.environ.update(plan.env)
        base = node.wait_until_ready()
        train_beside(plan, place, base, plan_file.parent)
    except UserError as error:
        ended = Ended(status=USER_ERROR_EXIT, message=str(error))
    except KeyboardInterrupt:
        ended = Ended(status=INTERRUPTED_EXIT)
    except Exception as error:  # the process ends here: the traceback is for its log
        traceback.print_exc()
        ended = Ended(status=1, message=str(error), lost=isinstance(error, NodeLostError))
    return _end(node, ended)


def _end(node: OtherNode | None, ended: Ended) -> int:
    """Tell node 0, and end as it does; where it is gone, as this node's part did."""
    if node is not None:
        node.end(ended)
        try:
            ended = node.wait_for_the_end(_GRACE if ended.status else None)
        except NodeLostError as error:
            ended = Ended(status=ended.status or 1, message=ended.message or str(error))
    if ended.message:
        print(ended.message, file=sys.stderr)
    return ended.status


def _hide_the_place() -> None:
    """torchrun and training_hub read these too; what they get are arguments."""
    for name in PET:
        os.environ.pop(name, None)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
