"""One node of a TrainJob in tests: does what its plan says for its rank, an act after the other.

The plan is ``{RANK: [[ACT, ARGUMENT...], ...]}``; node 0 alone reports, as the real node does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from resources.errors import UserError
from resources.launcher.child import Reporter, run_worker

RANK = os.environ["PET_NODE_RANK"]


def work(plan_file: Path, report: Reporter) -> None:
    for act, *arguments in json.loads(plan_file.read_text()).get(RANK, []):
        match act:
            case "say":
                (text,) = arguments
                print(text, flush=True)
            case "report":
                (steps,) = arguments
                for step in range(1, steps + 1):
                    report("work", step, steps, loss=1.0 / step)
            case "until":  # another hand makes the file
                (name,) = arguments
                while not (plan_file.parent / name).exists():
                    time.sleep(0.05)
            case "refuse":
                raise UserError("row 7 of the plan is not valid: mend it")
            case "fail":
                raise RuntimeError("something nobody expected")
            case _:
                raise ValueError(act)


def silent(phase: str, done: float, total: float, **details: Any) -> None:
    """Nodes beside the first report nothing."""


if __name__ == "__main__":
    if RANK == "0":
        sys.exit(run_worker(work, sys.argv[1:]))
    work(Path(sys.argv[1]), silent)  # error.json is the first node's
