"""Interrupted trainings that a new one does not go on with, and why, in words.

A run folder belongs to one fingerprint, so another world size, another parameter or other rows
begin anew, beside checkpoints that may have cost hours. Belongs here: saying so, and what to set
back. Does not belong here: which checkpoint of its own folder a run goes on from
(``in_process/checkpoints.py``, and the GPU backends themselves).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ft_assets.training.plan import TrainPlan

PLAN_FILE = "plan.json"
_FINGERPRINT = 16
"""Characters of the fingerprint in a run folder's name."""
_STATES = ("checkpoint-*", "full_state/epoch_*", "full_state_checkpoints/step_*")
"""Where the backends keep what a run goes on from."""
_WORLD = ("nproc_per_node", "nnodes")
_COMPARED = ("algorithm", "backend", "mask", "env", "checkpoint_choice", "on_unhealthy")


def run_folder(runs: Path, prefix: str, fingerprint: str) -> Path:
    """The folder of one training.

    Args:
        runs: where all are.
        prefix: of the asset and the drop.
        fingerprint: of the training.
    """
    return runs / f"{prefix}-{fingerprint[:_FINGERPRINT]}"


def begun(runs: Path, prefix: str) -> Iterator[tuple[Path, TrainPlan]]:
    """The trainings of an asset and drop that were begun and not finished: folder and plan."""
    for file in sorted(runs.glob(f"{prefix}-{'[0-9a-f]' * _FINGERPRINT}/{PLAN_FILE}")):
        try:
            yield file.parent, TrainPlan.model_validate_json(file.read_bytes())
        except (ValidationError, FileNotFoundError):  # another release's; or finished just now
            continue


def left_behind(runs: Path, prefix: str, plan: TrainPlan) -> Iterator[str]:
    """A sentence for each interrupted training that this one does not go on with.

    None where this one has a state of its own: it goes on from that.
    """
    if _states(run_folder(runs, prefix, plan.fingerprint)):
        return
    for folder, other in begun(runs, prefix):
        states = _states(folder)
        if states and other.fingerprint != plan.fingerprint:
            yield (
                f"An interrupted training of this drop is not gone on with ({folder.name}, "
                f"{states[-1].name}): {_why(other, plan)}. This one begins at the start; to go on "
                "with that one, set back what was changed"
            )


def _states(folder: Path) -> list[Path]:
    found = [path for pattern in _STATES for path in folder.glob(pattern)]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _why(other: TrainPlan, plan: TrainPlan) -> str:
    before, now = _world(other), _world(plan)
    reasons: list[str] = []
    if before != now:
        reasons.append(
            f"it was made by {before} and this one by {now} (kubernetes.workers, procs_per_worker "
            "and gpus_per_worker): its optimizer and its random numbers are those of another "
            "number of processes"
        )
    was, is_ = _values(other), _values(plan)
    reasons += [
        f"{name} was {was.get(name)!r} and is {is_.get(name)!r}"
        for name in sorted(was.keys() | is_.keys())
        if was.get(name) != is_.get(name)
    ]
    return "; ".join(reasons) or "its rows, or the code that trains, are others"


def _world(plan: TrainPlan) -> str:
    per_node, nodes = (int(plan.parameters.get(name, 1)) for name in _WORLD)
    noun = "process" if per_node * nodes == 1 else "processes"
    return f"{per_node * nodes} {noun} ({nodes} x {per_node})"


def _values(plan: TrainPlan) -> dict[str, Any]:
    """What makes the fingerprint, but for the rows and the world, by name."""
    dumped = plan.model_dump(mode="json", include=set(_COMPARED))
    parameters = {n: v for n, v in plan.parameters.items() if n not in _WORLD}
    start = None if plan.start is None else plan.start.digest
    return {**dumped, **parameters, "base model": plan.base_model.digest, "start": start}
