"""A child process as the launcher starts it, which does what its plan says; loads in no time."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from resources.errors import UserError
from resources.launcher.child import Reporter, leave, run_worker, start_cold


def work(plan_file: Path, report: Reporter) -> None:
    plan = json.loads(plan_file.read_text())
    for step in range(1, plan.get("steps", 0) + 1):
        report("work", step, plan["steps"], loss=plan.get("loss", 1.0 / step))
    match plan["then"]:
        case "end":
            (plan_file.parent / "environment.json").write_text(json.dumps(dict(os.environ)))
        case "refuse":
            raise UserError("row 7 of the plan is not valid: mend it")
        case "fail":
            raise RuntimeError("something nobody expected")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "interrupted":
            raise KeyboardInterrupt
        case "terminated":
            os.kill(os.getpid(), signal.SIGTERM)
        case "wait":
            (plan_file.parent / "pid").write_text(str(os.getpid()))
            time.sleep(120)


if __name__ == "__main__":
    if json.loads(Path(sys.argv[1]).read_text()).get("env"):
        start_cold()
    leave(run_worker(work, sys.argv[1:]))
