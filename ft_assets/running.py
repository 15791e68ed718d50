"""Running a pipeline from a command, always through Dagster: each run is in the UI as any other.

The run is created in the instance with the origin that ``workspace.yaml`` gives it, so that the UI
links it to its job and can repeat it, and is executed in this process.
"""

from __future__ import annotations

# Dagster's internals have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._check import CheckError
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.repository_definition.valid_definitions import (
    SINGLETON_REPOSITORY_NAME,
)
from dagster._core.errors import (
    DagsterAssetCheckFailedError,
    DagsterExecutionInterruptedError,
)
from dagster._core.execution.api import execute_run_iterator
from dagster._core.instance.config import is_dagster_home_set
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.storage.tags import MAX_RETRIES_TAG, PARTITION_NAME_TAG
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster_shared.error import DagsterError
from sqlalchemy.exc import SQLAlchemyError
from yaml import YAMLError

from ft_assets.config import Pipeline
from ft_assets.config.launchpad import (
    BLOCK_OF_ASSET,
    FORCEABLE,
    effective_spec,
    op_name,
    place_of,
    shown_blocks,
)
from resources.errors import UserError
from resources.home import shipped
from resources.sources.partitions import substitute

ASSETS = tuple(BLOCK_OF_ASSET)
_PROCESS_TAG = "ft/process"
"""Run tag: the process that executes the run."""


@dataclass(frozen=True)
class RunRequest:
    """What a person asks for on the command line."""

    pipeline: Pipeline
    partition: str | None
    select: Sequence[str]
    """Names of assets; all of them when empty."""
    settings: Mapping[str, Any]
    """``block.parameter`` and its value for this run alone."""
    force: bool


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    run_id: str
    success: bool
    failures: tuple[str, ...]
    """What the failed steps said."""
    materialized: Mapping[str, Mapping[str, Any]]
    """Per asset that was made: its metadata, as plain values."""
    checks: Mapping[str, bool]
    warnings: tuple[str, ...]
    """What failed checks say that stop nothing."""


def run(instance: dg.DagsterInstance, request: RunRequest) -> RunOutcome:
    """Create the run in the instance and execute it here.

    Raises:
        UserError: the request names an asset, a drop or a parameter that there is not.
    """
    spec = request.pipeline.spec
    config = run_config(request)
    effective = effective_spec(spec, config)  # refuse before there is a run
    if request.partition is not None:
        substitute(effective.dataset.uri, request.partition)  # and before there is a partition
    selection = _asset_keys(request)
    job = (
        ReconstructableRepository.for_module("ft_assets.definitions", "defs")
        .get_reconstructable_job(spec.name)
        .get_subset(asset_selection=selection)
    )
    _end_runs_of_dead_commands(instance)
    # Nobody but the command repeats its run: a retry by the daemon would race with the next one.
    tags = {"pipeline": spec.name, _PROCESS_TAG: _process(), MAX_RETRIES_TAG: "0", **spec.tags}
    drops = f"{spec.name}_drops"
    new_drop = request.partition is not None and not instance.has_dynamic_partition(
        drops, request.partition
    )
    if request.partition is not None:
        instance.add_dynamic_partitions(drops, [request.partition])
        tags[PARTITION_NAME_TAG] = request.partition
    dagster_run = instance.create_run_for_job(
        job_def=job.get_definition(),
        run_config=config,
        tags=tags,
        asset_selection=selection,
        remote_job_origin=_repository_origin().get_job_origin(spec.name),
        job_code_origin=job.get_python_origin(),
    )
    failures: list[str] = []
    warnings: list[str] = []
    materialized: dict[str, Mapping[str, Any]] = {}
    checks: dict[str, bool] = {}
    success = False
    for event in execute_run_iterator(job, dagster_run, instance):
        if event.is_step_failure:
            if not _is_failed_check(event):  # which has spoken for itself
                failures.append(_failure_text(event))
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            done = event.step_materialization_data.materialization
            assert done.asset_key is not None
            materialized[done.asset_key.path[-1]] = {
                name: value.value for name, value in done.metadata.items()
            }
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            checks[evaluation.check_name] = evaluation.passed
            if not evaluation.passed:
                stops = evaluation.severity == dg.AssetCheckSeverity.ERROR
                said = f"check {evaluation.check_name}: {evaluation.description}"
                (failures if stops else warnings).append(said)
        elif event.event_type == dg.DagsterEventType.RUN_SUCCESS:
            success = True
    if new_drop and request.partition is not None and "raw_dataset" not in materialized:
        instance.delete_dynamic_partition(drops, request.partition)  # it has no data
    return RunOutcome(
        run_id=dagster_run.run_id,
        success=success,
        failures=tuple(failures),
        materialized=materialized,
        checks=checks,
        warnings=tuple(warnings),
    )


def _end_runs_of_dead_commands(instance: dg.DagsterInstance) -> None:
    """Mark as failed what a killed `ft run` left as running, so that it blocks no queue."""
    host = socket.gethostname()
    running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED])
    for left in instance.get_runs(running, limit=100):
        if left.parent_run_id is not None:
            continue  # repeated by the UI, with the tags of the run it repeats
        where, _, pid = left.tags.get(_PROCESS_TAG, "").rpartition(":")
        if where == host and left.tags[_PROCESS_TAG] != _process() and not _same_process(pid):
            instance.report_run_failed(left, "the command that executed this run was killed")


def _process() -> str:
    """This process, so that nobody takes a later one with the same number for it."""
    return f"{socket.gethostname()}:{os.getpid()}-{psutil.Process().create_time():.0f}"


def _same_process(pid_and_start: str) -> bool:
    """Whether the process that ``_process`` named is still there."""
    pid, _, start = pid_and_start.partition("-")
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == start
    except psutil.NoSuchProcess:
        return False


def run_config(request: RunRequest) -> dict[str, Any]:
    """Dagster's run config for what the command line sets.

    Raises:
        UserError: a setting names no parameter of the pipeline file.
    """
    name = request.pipeline.spec.name
    ops: dict[str, dict[str, dict[str, Any]]] = {}
    for setting, value in request.settings.items():
        block, _, parameter = setting.partition(".")
        place = place_of(block, parameter)
        if place is None:
            raise UserError(
                f"--set {setting}: there is no such parameter; name one as BLOCK.PARAMETER with a "
                f"block of {', '.join(sorted(shown_blocks()))}"
            )
        asset = place.asset
        if request.select and asset not in request.select:
            raise UserError(
                f"--set {setting}: is a parameter of {asset}, which --select leaves out: select it "
                "too, or change the pipeline file"
            )
        op = ops.setdefault(op_name(name, asset), {"config": {}})
        place.put(op["config"], parameter, value)
    if request.force:
        for asset in FORCEABLE:
            if not request.select or asset in request.select:
                ops.setdefault(op_name(name, asset), {"config": {}})["config"]["force"] = True
    # The command shows progress itself; everything else is in the event log.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return {"ops": ops, **quiet} if ops else quiet


def _asset_keys(request: RunRequest) -> frozenset[dg.AssetKey]:
    unknown = [name for name in request.select if name not in ASSETS]
    if unknown:
        raise UserError(
            f"--select {','.join(unknown)}: there is no such asset; name some of "
            f"{', '.join(ASSETS)}"
        )
    chosen = request.select or ASSETS
    return frozenset(dg.AssetKey([request.pipeline.spec.name, name]) for name in chosen)


def _repository_origin() -> RemoteRepositoryOrigin:
    """The code location as the UI loads it."""
    (location,) = location_origins_from_yaml_paths([str(shipped("workspace.yaml"))])
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME)


def _is_failed_check(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == DagsterAssetCheckFailedError.__name__


def _failure_text(event: dg.DagsterEvent) -> str:
    """What a failed step has to say to a person."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__:
        return (
            f"interrupted at {event.step_key}: run it again, and what is finished is not done twice"
        )
    return error.message.strip() if error is not None else f"step {event.step_key} failed"


def open_instance() -> dg.DagsterInstance:
    """Dagster's instance in the folder that ``DAGSTER_HOME`` names.

    Raises:
        UserError: its settings are not valid, or its storage cannot be opened.
    """
    assert is_dagster_home_set()
    logging.getLogger("dagster").setLevel(logging.WARNING)
    file = Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml"
    try:
        return dg.DagsterInstance.get()
    except (DagsterError, CheckError, YAMLError) as error:
        raise UserError(f"{file} is not valid: {_first_lines(error)}") from error
    except (SQLAlchemyError, OSError) as error:
        raise UserError(
            f"Dagster's storage, as {file} describes it, cannot be opened: {_first_lines(error)}"
        ) from error


def _first_lines(error: Exception) -> str:
    """What the error says, without the statement or the stack that some append."""
    return " ".join(str(error).split("\n\n")[0].split("[SQL")[0].split())[:500]
