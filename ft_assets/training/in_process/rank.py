"""One of several training processes, as torchrun starts it: ``rank RUN_DIR/plan.json BASE``.

It leaves one line about how it ended, since torchrun passes on no more than a status; the first
one hands its reports to the process that started torchrun. Who starts it is ``processes.py``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ft_assets.training.limits import COLLECTIVE_TIMEOUT, limit
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError
from resources.launcher.child import INTERRUPTED_EXIT, USER_ERROR_EXIT, Reporter
from resources.record import Record

TALK = "FT_RANKS"
"""Environment variable: the folder in which a node's processes tell the one that started them."""

REPORTS = "reports"
"""In that folder: a pipe, one JSON object per line."""

_PR_SET_PDEATHSIG = 1


class RankEnd(Record):
    """How one process ended."""

    status: int
    """0, 1, 2 (bad input) or 130 (interrupted), as every worker's."""
    message: str = ""
    lost: bool = False
    """Whether it ended because another process was gone."""
    outcome: TrainOutcome | None = None
    """Of the first process of a run that came to its end."""

    def save(self, folder: Path, rank: int) -> None:
        """Write it, in one act."""
        partial = folder / f"rank-{rank}.partial"
        partial.write_text(self.model_dump_json())
        partial.replace(folder / f"rank-{rank}.json")

    @classmethod
    def load_all(cls, folder: Path) -> dict[int, RankEnd]:
        """By rank; a process that was killed has none."""
        return {
            int(file.stem.removeprefix("rank-")): cls.model_validate_json(file.read_text())
            for file in sorted(folder.glob("rank-*.json"))
        }


def begun(folder: Path) -> set[int]:
    """The ranks of the processes that began, whatever came of them."""
    return {int(file.stem.removeprefix("rank-")) for file in folder.glob("rank-*.begun")}


def main(argv: list[str]) -> int:
    """Train as one process of several and return the exit status."""
    _die_with_torchrun()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _asked)
    folder, rank = Path(os.environ[TALK]), int(os.environ["RANK"])
    (folder / f"rank-{rank}.begun").touch()
    with _reporter(folder, first=rank == 0) as report:
        return train_as_rank(Path(argv[0]), Path(argv[1]), folder, rank, report)


def train_as_rank(plan_file: Path, base: Path, folder: Path, rank: int, report: Reporter) -> int:
    """Train, leave a line about how it ended, and return the exit status."""
    from ft_assets.training.in_process.world import PeerLostError, World, joined

    world = World()
    try:
        from ft_assets.training.in_process.backend import train_in_process

        plan = TrainPlan.model_validate_json(plan_file.read_text())
        with joined(limit(os.environ, COLLECTIVE_TIMEOUT)) as world:
            outcome = train_in_process(plan, base, plan_file.parent, report, world)
            end = RankEnd(status=0, outcome=outcome)
    except UserError as error:
        end = RankEnd(status=USER_ERROR_EXIT, message=str(error))
    except KeyboardInterrupt:
        end = RankEnd(status=INTERRUPTED_EXIT)
    except PeerLostError as error:
        end = RankEnd(status=1, message=str(error), lost=True)
    except Exception as error:  # the process ends here: the traceback is for the log
        traceback.print_exc()
        end = RankEnd(status=1, message=f"{type(error).__name__}: {error}")
    end.save(folder, rank)  # before its connections close, and the others notice
    # torchrun kills the others when one fails: those that have settled may end in peace.
    return 0 if world.settled else end.status


@contextmanager
def _reporter(folder: Path, *, first: bool) -> Generator[Reporter]:
    """The first process's reports go to the node's process; the others' to nobody."""

    def silent(phase: str, done: float, total: float, **details: Any) -> None:
        pass

    if not first:
        yield silent
        return
    with (folder / REPORTS).open("w", buffering=1) as pipe:

        def report(phase: str, done: float, total: float, **details: Any) -> None:
            event = {"phase": phase, "done": done, "total": total, "time": time.time(), **details}
            pipe.write(json.dumps(event) + "\n")

        yield report


def _asked(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt  # until the training listens, there is nothing to keep


def _die_with_torchrun() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
