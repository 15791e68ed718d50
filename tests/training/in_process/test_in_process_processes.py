"""A node's training processes: one explained end of all, and a torchrun that is told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ft_assets.training.in_process.processes import raise_the_end
from ft_assets.training.in_process.rank import RankEnd
from ft_assets.training.nodes import NodeLostError
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError

WELL, ASKED = RankEnd(status=0), RankEnd(status=130)
REFUSED = RankEnd(status=2, message="lower the rate")
BROKEN = RankEnd(status=1, message="ValueError: no")
LOST = RankEnd(status=1, message="Connection closed by peer", lost=True)


@pytest.fixture
def plan(plan_file: Callable[..., Path]) -> TrainPlan:
    plan = TrainPlan.model_validate_json(plan_file().read_text())
    return plan.model_copy(update={"memory_remedies": ("set kubernetes.memory to 8Gi",)})


@pytest.mark.parametrize(
    ("ends", "given", "error", "said"),
    [
        ([LOST, REFUSED], {}, UserError, "lower the rate"),
        ([LOST, BROKEN], {}, RuntimeError, "ValueError: no"),
        ([LOST], {"killed": [1]}, RuntimeError, r"process 1 was killed.*kubernetes\.memory to 8Gi"),
        ([LOST, LOST], {}, NodeLostError, r"another node ended .*\(Connection closed by peer\)"),
        ([], {}, NodeLostError, "torchrun ended with status 1"),
        ([ASKED, LOST], {"asked": True}, KeyboardInterrupt, None),
        ([], {"asked": True}, KeyboardInterrupt, None),
        ([ASKED, ASKED], {"status": 0}, KeyboardInterrupt, None),  # another node was asked
    ],
)
def test_one_end_of_all_is_explained(
    plan: TrainPlan,
    ends: list[RankEnd],
    given: dict[str, Any],
    error: type[BaseException],
    said: str | None,
) -> None:
    arguments = {"killed": [], "status": 1, "asked": False, **given}
    with pytest.raises(error, match=said):
        raise_the_end(plan, dict(enumerate(ends)), **arguments)


def test_a_good_end_needs_no_words(plan: TrainPlan) -> None:
    raise_the_end(plan, {0: WELL, 1: WELL}, [], 0, asked=False)
    raise_the_end(plan, {0: WELL, 1: WELL}, [], 0, asked=True)  # it was at its end


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_worker_starts_its_processes_and_a_signal_leaves_a_checkpoint(
    plan_file: Callable[..., Path],
) -> None:
    file = plan_file(num_epochs=2000, checkpoint_at_epoch=False)
    plan = TrainPlan.model_validate_json(file.read_text())
    parameters = {**plan.parameters, "nnodes": 1, "nproc_per_node": 2}
    file.write_text(plan.model_copy(update={"parameters": parameters}).model_dump_json())
    worker = subprocess.Popen(
        [sys.executable, "-m", "ft_assets.training.worker", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert worker.stderr is not None
    said: list[str] = []
    for line in worker.stderr:  # the first process's reports, which the worker passes on
        said.append(line)
        if line.startswith("train 3/"):
            break
    below = psutil.Process(worker.pid).children(recursive=True)
    worker.send_signal(signal.SIGTERM)
    said += worker.stderr.read()
    assert worker.wait() == 130, "".join(said)
    (manifest,) = file.parent.glob("checkpoint-*/manifest.json")
    assert json.loads(manifest.read_text())["full"] is True
    assert not (file.parent / "error.json").exists()
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below):
        time.sleep(0.05)
