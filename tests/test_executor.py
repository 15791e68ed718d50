"""Where steps run is the environment's choice."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import dagster as dg
import pytest
from dagster._config import process_config
from dagster_k8s import k8s_job_executor

from ft_assets.cluster.k8s_executor import k8s_executor
from ft_assets.cluster.settings import WatchSettings
from ft_assets.executor import NAMES, executor
from resources.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("in_process", dg.in_process_executor),
        ("multiprocess", dg.multiprocess_executor),
        ("k8s", k8s_executor),
    ],
)
def test_the_environment_names_the_executor(monkeypatch, name, expected):
    monkeypatch.setenv("FT_EXECUTOR", name)
    assert executor() is expected
    assert name in NAMES


def test_a_laptop_runs_steps_in_one_process(monkeypatch):
    monkeypatch.delenv("FT_EXECUTOR", raising=False)
    assert executor() is dg.in_process_executor


@pytest.mark.parametrize("name", ["", "celery", "K8S"])
def test_another_name_is_refused_with_those_that_there_are(monkeypatch, name):
    monkeypatch.setenv("FT_EXECUTOR", name)
    with pytest.raises(UserError, match="set one of in_process, multiprocess, k8s"):
        executor()


def _resolved(config: dict[str, Any]) -> dict[str, Any]:
    result = process_config(k8s_executor.config_schema.as_field().config_type, config)
    assert result.success, result.errors
    return result.value


def test_the_executor_in_pods_takes_what_dagsters_own_takes():
    own = set(k8s_job_executor.config_schema.as_field().config_type.fields)
    assert set(k8s_executor.config_schema.as_field().config_type.fields) == {*own, "watchdog"}


def test_jobs_of_steps_have_an_owner_unless_somebody_says_otherwise():
    assert _resolved({})["enable_owner_references"] is True
    assert _resolved({"enable_owner_references": False})["enable_owner_references"] is False


def test_a_run_that_says_nothing_has_the_watchdogs_own_deadlines():
    assert WatchSettings(**_resolved({})["watchdog"]) == WatchSettings()


def test_one_deadline_of_the_watchdog_can_be_changed_alone():
    watchdog = _resolved({"watchdog": {"patience_seconds": 5.0}})["watchdog"]
    assert WatchSettings(**watchdog) == WatchSettings(patience_seconds=5.0)


# In a step's pod


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"max_concurrent": 2, "watchdog": {"patience_seconds": 5.0}},
        {"step_k8s_config": {"container_config": {"resources": {"limits": {"cpu": "1"}}}}},
    ],
)
def test_a_steps_pod_takes_what_the_runs_pod_took_and_begins_no_steps(monkeypatch, config):
    monkeypatch.setenv("FT_EXECUTOR", "k8s")
    monkeypatch.setenv("DAGSTER_RUN_STEP_KEY", "mine__raw_dataset")

    @dg.job(executor_def=executor())
    def work():
        pass

    run_config = {"execution": {"config": config}}
    assert dg.validate_run_config(work, run_config)["execution"] == {"k8s": config}
    with pytest.raises(dg.DagsterInvariantViolationError, match="begins no steps"):
        executor().executor_creation_fn(None)


def test_a_steps_pod_does_not_load_the_client_of_kubernetes():
    code = (
        "import sys, ft_assets.definitions; "
        "print(*sorted({'kubernetes', 'dagster_k8s'} & sys.modules.keys()))"
    )
    environment = {**os.environ, "FT_EXECUTOR": "k8s"}
    run = functools.partial(
        subprocess.run, [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    assert run(env=environment).stdout.split() == ["dagster_k8s", "kubernetes"]
    assert run(env={**environment, "DAGSTER_RUN_STEP_KEY": "step"}).stdout.split() == []
