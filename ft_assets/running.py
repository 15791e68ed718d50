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
from dagster._core.execution.api import execute_run_iterator
from dagster._core.instance.config import is_dagster_home_set
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.storage.tags import MAX_RETRIES_TAG, PARTITION_NAME_TAG
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster_shared.error import DagsterError
from sqlalchemy.exc import SQLAlchemyError
from yaml import YAMLError

from ft_assets.config import Pipeline, PipelineSpec
from ft_assets.config.launchpad import (
    FORCEABLE,
    JOB_ASSETS,
    effective_spec,
    place_of,
    shown_blocks,
)
from ft_assets.config.recipes import DEFAULT
from ft_assets.executor import is_step_pod
from ft_assets.run_outcome import RunOutcome, outcome_of
from ft_assets.warm_workers import warm_workers
from resources.errors import UserError
from resources.home import shipped
from resources.sources.partitions import substitute

ASSETS = JOB_ASSETS
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
    recipes: Sequence[str] = ()
    """Names of recipes, ``default`` for the training block itself; all of them when empty."""

    def variants(self) -> list[PipelineSpec]:
        """The specifications that are asked for, that of the training block first.

        Raises:
            UserError: there is no such recipe.
        """
        spec = self.pipeline.spec
        known = {DEFAULT: spec, **spec.recipe_specs()}
        for name in self.recipes:
            if name not in known:
                raise UserError(
                    f"--recipe {name}: the pipeline {spec.name} has no such recipe: there are "
                    f"{', '.join(known)}"
                )
        return [one for name, one in known.items() if not self.recipes or name in self.recipes]


def run(instance: dg.DagsterInstance, request: RunRequest) -> RunOutcome:
    """Create the run in the instance and execute it here.

    Raises:
        UserError: the request names an asset, a drop or a parameter that there is not.
    """
    refuse(request)  # before there is a run, or a partition
    spec = request.pipeline.spec
    config = run_config(request)
    selection = asset_keys(request)
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
    with warm_workers():
        outcome = outcome_of(dagster_run.run_id, execute_run_iterator(job, dagster_run, instance))
    if new_drop and request.partition is not None and "raw_dataset" not in outcome.materialized:
        instance.delete_dynamic_partition(drops, request.partition)  # it has no data
    return outcome


def refuse(request: RunRequest) -> None:
    """Refuse what cannot become a run.

    Raises:
        UserError: the request names an asset, a drop or a parameter that there is not.
    """
    if is_step_pod():
        raise UserError(
            "this is the pod of a step (DAGSTER_RUN_STEP_KEY is set): start the run from another "
            "pod, or from Dagster's UI"
        )
    config = run_config(request)
    effective = effective_spec(request.pipeline.spec, config)
    for variant in request.variants():
        effective_spec(variant, config)
    if request.partition is not None:
        substitute(effective.dataset.uri, request.partition)
    asset_keys(request)


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
    variants = request.variants()
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
        for variant in variants:
            op = ops.setdefault(variant.op(asset), {"config": {}})
            place.put(op["config"], parameter, value)
    if request.force:
        for asset in FORCEABLE:
            if not request.select or asset in request.select:
                for variant in variants:
                    ops.setdefault(variant.op(asset), {"config": {}})["config"]["force"] = True
    # The command shows progress itself; everything else is in the event log.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return {"ops": ops, **quiet} if ops else quiet


def asset_keys(request: RunRequest) -> frozenset[dg.AssetKey]:
    """The assets that are asked for.

    Raises:
        UserError: there is no such asset, or no such recipe.
    """
    unknown = [name for name in request.select if name not in ASSETS]
    if unknown:
        raise UserError(
            f"--select {','.join(unknown)}: there is no such asset; name some of "
            f"{', '.join(ASSETS)}"
        )
    chosen = request.select or ASSETS
    return frozenset(
        dg.AssetKey(variant.key(name)) for variant in request.variants() for name in chosen
    )


def _repository_origin() -> RemoteRepositoryOrigin:
    """The code location as the UI loads it."""
    (location,) = location_origins_from_yaml_paths([str(shipped("workspace.yaml"))])
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME)


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
