"""A run from the command is Dagster's own: with other executors, and through Dagster's programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from ft_assets.config import load_pipeline
from ft_assets.running import RunRequest, run, run_config
from resources.errors import UserError
from resources.home import CHECKOUT
from tests.support.tiny_pipeline import NAME, clean_environment

DATA = "raw_dataset,split_dataset"


def _request(tiny, *, select=(), settings=None, force=False):
    return RunRequest(load_pipeline(tiny.file), "drop-1", select, settings or {}, force)


def test_a_setting_goes_to_the_asset_that_reads_it(tiny):
    settings = {"dataset.split": 0.5, "dataset.uri": "/x/{partition}", "training.seed": 1}
    ops = run_config(_request(tiny, settings=settings))["ops"]
    assert ops == {
        "tiny__raw_dataset": {"config": {"uri": "/x/{partition}"}},
        "tiny__split_dataset": {"config": {"split": 0.5}},
        "tiny__finetuned_model": {"config": {"seed": 1}},
    }


def test_a_setting_of_a_pod_goes_to_the_step_whose_pod_it_is(tiny):
    settings = {"kubernetes.memory": "8Gi", "kubernetes.steps.eval_report.gpus": 1}
    assert run_config(_request(tiny, settings=settings))["ops"] == {
        "tiny__finetuned_model": {"config": {"kubernetes": {"memory": "8Gi"}}},
        "tiny__eval_report": {"config": {"kubernetes": {"gpus": 1}}},
    }


def test_force_goes_to_what_is_costly_and_selected(tiny):
    everything = run_config(_request(tiny, force=True))["ops"]
    assert set(everything) == {
        "tiny__baseline_report",
        "tiny__finetuned_model",
        "tiny__eval_report",
    }
    one = run_config(_request(tiny, force=True, select=["eval_report"]))["ops"]
    assert one == {"tiny__eval_report": {"config": {"force": True}}}


def test_a_run_that_changes_nothing_has_no_config_of_its_own(tiny):
    assert "ops" not in run_config(_request(tiny))


@pytest.mark.parametrize("setting", ["dataset", "dataset.", ".split", "kubernetes.steps", ""])
def test_a_setting_that_no_asset_reads_is_refused(tiny, setting):
    with pytest.raises(UserError, match="there is no such parameter"):
        run_config(_request(tiny, settings={setting: 1}))


@pytest.mark.slow
def test_in_a_steps_pod_no_run_is_created(tiny, monkeypatch):
    monkeypatch.setenv("FT_EXECUTOR", "k8s")
    monkeypatch.setenv("DAGSTER_RUN_STEP_KEY", "tiny__raw_dataset")
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(UserError, match="start the run from another pod"):
            run(instance, _request(tiny))
        assert instance.get_runs_count() == 0


def test_steps_run_in_processes_of_their_own_where_the_environment_says_so(tiny):
    call = tiny.ft(
        *("run", NAME, "--json", "--select", DATA), environment={"FT_EXECUTOR": "multiprocess"}
    )
    assert call.exit_code == 0, call.stderr
    assert call.json["made"] == DATA.split(",")
    with tiny.instance() as instance:
        messages = [
            entry.message
            for entry in instance.all_logs(call.json["run_id"])
            if entry.dagster_event_type == dg.DagsterEventType.STEP_WORKER_STARTED
        ]
    assert len(messages) == 2


@pytest.mark.slow
def test_dagster_itself_can_launch_the_job(trained_once):
    """As the UI, a schedule and a backfill do: from the code location, without ``ft``."""
    program = Path(sys.executable).with_name("dg")
    done = subprocess.run(
        [str(program), "launch", "--job", NAME, "--partition", "drop-1"],
        env=clean_environment(trained_once.dagster_environment),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with trained_once.instance() as instance:
        record, first = instance.get_run_records()
    assert record.dagster_run.status == dg.DagsterRunStatus.SUCCESS
    assert record.dagster_run.run_id != first.dagster_run.run_id
