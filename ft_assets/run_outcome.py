"""How a run ended, read from its events: of a run in this process, or of one that the daemon ran.

Belongs here: what events mean to a person. Does not belong here: how a run is started
(``running.py``) or shown (``cli/report.py``).
"""

from __future__ import annotations

# Dagster's internals have no complete types.
# pyright: reportUnknownMemberType=false
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.errors import (
    DagsterAssetCheckFailedError,
    DagsterExecutionInterruptedError,
)


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    run_id: str
    success: bool
    failures: tuple[str, ...]
    """What the failed steps said."""
    materialized: Mapping[str, Mapping[str, Any]]
    """Per asset that was made (RECIPE/ASSET for one of a recipe): its metadata, as plain values."""
    checks: Mapping[str, bool]
    warnings: tuple[str, ...]
    """What failed checks say that stop nothing."""
    interrupted: bool = False
    """Whether somebody stopped it: who asked for more than this run wants none of it now."""

    @property
    def made(self) -> list[str]:
        """The assets whose work was done."""
        return [asset for asset, data in self.materialized.items() if not data.get("up_to_date")]

    @property
    def up_to_date(self) -> list[str]:
        """The assets that nothing had to be done for."""
        return [asset for asset, data in self.materialized.items() if data.get("up_to_date")]

    @property
    def work_seconds(self) -> float:
        """Seconds inside the work of all its assets; the rest is the platform's."""
        return sum(float(data.get("work_seconds") or 0) for data in self.materialized.values())


def outcome_of(run_id: str, events: Iterable[dg.DagsterEvent]) -> RunOutcome:
    """Read a run's events, in their order, to the end."""
    failures: list[str] = []
    warnings: list[str] = []
    materialized: dict[str, Mapping[str, Any]] = {}
    checks: dict[str, bool] = {}
    success = interrupted = False
    for event in events:
        if event.is_step_failure:
            interrupted = interrupted or _is_interruption(event)
            if not _is_failed_check(event):  # which has spoken for itself
                failures.append(_failure_text(event))
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            done = event.step_materialization_data.materialization
            assert done.asset_key is not None
            materialized["/".join(done.asset_key.path[1:])] = {
                name: value.value for name, value in done.metadata.items()
            }
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            name = "/".join([*evaluation.asset_key.path[1:-1], evaluation.check_name])
            checks[name] = evaluation.passed
            if not evaluation.passed:
                stops = evaluation.severity == dg.AssetCheckSeverity.ERROR
                said = f"check {name}: {evaluation.description}"
                (failures if stops else warnings).append(said)
        elif event.event_type == dg.DagsterEventType.RUN_SUCCESS:
            success = True
        elif event.event_type == dg.DagsterEventType.RUN_CANCELED:
            interrupted = True
            failures.append("the run was canceled")
        elif event.event_type == dg.DagsterEventType.RUN_FAILURE and not failures:
            failures.append(event.message or "the run failed")  # its process was lost
    return RunOutcome(
        run_id=run_id,
        success=success,
        failures=tuple(failures),
        materialized=materialized,
        checks=checks,
        warnings=tuple(warnings),
        interrupted=interrupted,
    )


def _is_failed_check(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == DagsterAssetCheckFailedError.__name__


def _is_interruption(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__


def _failure_text(event: dg.DagsterEvent) -> str:
    """What a failed step has to say to a person."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    if _is_interruption(event):
        return (
            f"interrupted at {event.step_key}: run it again, and what is finished is not done twice"
        )
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else f"step {event.step_key} failed"
