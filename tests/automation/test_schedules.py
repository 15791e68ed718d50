"""A pipeline's schedule: off at first, and then its job on the newest drop."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_run_id

from ft_assets.automation import schedules
from ft_assets.automation.new_data.base_model import row_of
from ft_assets.automation.new_data.ledger import Asked, Ledger
from ft_assets.code_location import default_resources
from ft_assets.config import load_pipeline
from ft_assets.pipeline import pipeline_definitions
from resources.errors import UserError
from resources.sources import Sources

SIX = datetime(2026, 11, 23, 6, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def _schedules(pipeline):
    return list(pipeline_definitions(load_pipeline(pipeline.file)).schedules or [])


def _tick(schedule, pipeline, instance):
    return _evaluate(schedule, pipeline, instance).run_requests


def _why_not(schedule, pipeline, instance):
    return _evaluate(schedule, pipeline, instance).skip_message


def _evaluate(schedule, pipeline, instance):
    sources = Sources(data_roots=[str(pipeline.data)])
    location = dg.Definitions.merge(
        dg.Definitions(resources={**default_resources(), "sources": sources}),
        pipeline_definitions(load_pipeline(pipeline.file)),
    )
    with dg.build_schedule_context(
        instance,
        scheduled_execution_time=SIX,
        resources={"sources": sources},
        repository_def=location.get_repository_def(),
    ) as context:
        return schedule.evaluate_tick(context)


def test_a_pipeline_that_names_no_time_has_no_schedule(tiny):
    assert _schedules(tiny) == []


def test_the_schedule_has_the_files_times_and_is_off(tiny):
    tiny.write({"automation": {"schedule": "0 6 * * 1"}})
    (schedule,) = _schedules(tiny)
    assert schedule.name == "tiny_schedule"
    assert schedule.cron_schedule == "0 6 * * 1"
    assert schedule.job_name == "tiny"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_it_asks_for_a_run_on_the_newest_drop_and_adds_its_partition(tiny, instance):
    tiny.write({"automation": {"schedule": "@daily"}}).write_drop("drop-2", rows=1)
    (schedule,) = _schedules(tiny)
    (request,) = _tick(schedule, tiny, instance)
    assert request.partition_key == "drop-2"
    assert list(instance.get_dynamic_partitions("tiny_drops")) == ["drop-2"]


def test_a_second_time_asks_for_the_same_drop_again(tiny, instance):
    """The run itself finds everything up to date."""
    tiny.write({"automation": {"schedule": "@daily"}})
    (schedule,) = _schedules(tiny)
    first, second = (_tick(schedule, tiny, instance) for _ in range(2))
    assert first[0].partition_key == second[0].partition_key == "drop-1"


def test_without_drops_it_asks_for_a_run_on_the_dataset(tiny, instance):
    tiny.write(
        {
            "automation": {"schedule": "@daily"},
            "dataset": {"uri": f"{tiny.data}/drop-1.jsonl"},
        }
    )
    (schedule,) = _schedules(tiny)
    (request,) = _tick(schedule, tiny, instance)
    assert request.partition_key is None


@pytest.mark.parametrize("cron", ["every monday", "61 * * * *", "* * *", ""])
def test_what_is_no_cron_expression_is_refused_with_its_line(tiny, cron):
    tiny.write({"automation": {"schedule": cron}})
    with pytest.raises(UserError, match=r"tiny\.yaml:\d+:\d+: automation\.schedule is "):
        load_pipeline(tiny.file)


def test_enabled_switches_it_on_from_the_start(tiny):
    tiny.write({"automation": {"schedule": "@daily", "enabled": True}})
    (schedule,) = _schedules(tiny)
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_its_runs_count_among_the_automatic_ones(tiny, instance):
    tiny.write({"automation": {"schedule": "@daily"}})
    (schedule,) = _schedules(tiny)
    (request,) = _tick(schedule, tiny, instance)
    wanted = {"pipeline": "tiny", "ft/automatic": "tiny", "ft/drop": "drop-1"}
    assert wanted.items() <= request.tags.items()


# What holds it back, as the sensor


def _an_automatic_run(instance, status=dg.DagsterRunStatus.SUCCESS, **tags):
    given = {"ft/automatic": "tiny", "ft/drop": "drop-1", **tags}
    run = DagsterRun(job_name="tiny", run_id=make_new_run_id(), tags=given, status=status)
    instance.add_run(run)


def test_with_a_marker_it_takes_the_newest_drop_that_has_it(tiny, instance):
    tiny.write({"automation": {"schedule": "@daily", "marker": "_SUCCESS"}})
    for drop in ("drop-2", "drop-10"):
        tiny.write_drop(drop, rows=1)
    (schedule,) = _schedules(tiny)
    waits = "No complete drop yet: drop-10 waits for the marker _SUCCESS"
    assert _why_not(schedule, tiny, instance) == waits
    (tiny.data / "drop-2.jsonl._SUCCESS").touch()
    (request,) = _tick(schedule, tiny, instance)
    assert request.partition_key == "drop-2"
    assert list(instance.get_dynamic_partitions("tiny_drops")) == ["drop-2"]


def test_a_dry_run_says_what_it_would_run(tiny, instance):
    tiny.write({"automation": {"schedule": "@daily", "dry_run": True}})
    (schedule,) = _schedules(tiny)
    assert _why_not(schedule, tiny, instance) == "Dry run: would run drop-1"
    assert list(instance.get_dynamic_partitions("tiny_drops")) == []


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"runs_per_day": 1}, "drop-1: the budget of 1 automatic runs in 24 hours is used up"),
        ({"cool_down": 600}, "drop-1: cools down for "),
        ({"gpu_hours_per_day": 2}, "drop-1: the budget of 2 GPU hours in 24 hours is used up"),
    ],
)
def test_the_limits_hold_for_it_too(tiny, instance, limit, reason):
    tiny.write({"automation": {"schedule": "@daily", **limit}})
    (schedule,) = _schedules(tiny)
    assert _tick(schedule, tiny, instance)
    _an_automatic_run(instance, **{"ft/gpu_hours": "2.5"})
    assert _why_not(schedule, tiny, instance).startswith(reason)


def test_where_data_accumulates_it_waits_for_the_run_that_goes_on(tiny, instance):
    tiny.write({"automation": {"schedule": "@daily"}, "dataset": {"accumulate": True}})
    (schedule,) = _schedules(tiny)
    _an_automatic_run(instance, status=dg.DagsterRunStatus.STARTED)
    waits = "drop-1: waits for the run of drop-1, one at a time as data accumulates"
    assert _why_not(schedule, tiny, instance) == waits


def _the_sensor_has_asked_for(instance, drop):
    ledger = Ledger(instance.run_storage, "tiny")
    ledger.move({drop: Asked(1, "token", seen=False)})
    return ledger


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"runs_per_day": 1}, "drop-1: the budget of 1 automatic runs in 24 hours is used up"),
        ({"cool_down": 600}, "drop-1: cools down for 600 s"),
    ],
)
def test_what_the_sensor_has_asked_for_counts_before_it_is_made(tiny, instance, limit, reason):
    tiny.write({"automation": {"schedule": "@daily", "enabled": True, **limit}})
    (schedule,) = _schedules(tiny)
    _the_sensor_has_asked_for(instance, "drop-1")
    assert _why_not(schedule, tiny, instance).startswith(reason)


def test_what_is_there_already_counts_once(tiny, instance):
    tiny.write({"automation": {"schedule": "@daily", "enabled": True, "runs_per_day": 2}})
    (schedule,) = _schedules(tiny)
    _the_sensor_has_asked_for(instance, "drop-1")
    _an_automatic_run(instance, **{"dagster/run_key": "drop-1:1:token"})
    assert _tick(schedule, tiny, instance)


@pytest.mark.parametrize(
    ("row", "enabled"),
    [
        ("drop-2", True),  # its data is gone
        ("(base model that/was-watched)", True),
        ("drop-1", False),  # nobody makes runs for a sensor that is off
    ],
)
def test_a_run_that_nobody_makes_is_not_waited_for(tiny, instance, row, enabled):
    tiny.write(
        {
            "automation": {"schedule": "@daily", "enabled": enabled},
            "dataset": {"accumulate": True},
        }
    )
    (schedule,) = _schedules(tiny)
    _the_sensor_has_asked_for(instance, row)
    assert _tick(schedule, tiny, instance)


@pytest.mark.parametrize("complete", [False, True])
def test_the_run_of_a_base_model_is_waited_for_while_there_is_a_drop_to_run(
    tiny, instance, complete
):
    tiny.write(
        {
            "automation": {"schedule": "@daily", "enabled": True, "watch_base_model": True},
            "training": {"start_from": "champion"},
        }
    )
    (schedule,) = _schedules(tiny)
    model = load_pipeline(tiny.file).spec.training.base_model
    ledger = _the_sensor_has_asked_for(instance, row_of(model))
    if complete:
        uri = str(tiny.data / "{partition}.jsonl")
        version = Sources(data_roots=[str(tiny.data)]).drop_version(uri, "drop-1")
        ledger.move({"drop-1": Asked(1, version.token, seen=True)})
    assert bool(_why_not(schedule, tiny, instance)) == complete


@pytest.mark.parametrize(
    ("status", "enabled", "waits"),
    [
        (InstigatorStatus.RUNNING, False, True),
        (InstigatorStatus.STOPPED, True, False),
        (InstigatorStatus.DECLARED_IN_CODE, True, True),
        (InstigatorStatus.DECLARED_IN_CODE, False, False),
    ],
)
def test_the_switch_in_the_ui_says_whether_the_sensor_is_on(tiny, instance, status, enabled, waits):
    tiny.write(
        {
            "automation": {"schedule": "@daily", "enabled": enabled},
            "dataset": {"accumulate": True},
        }
    )
    (schedule,) = _schedules(tiny)
    _the_sensor_has_asked_for(instance, "drop-1")
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="defs.py"))
    origin = RemoteRepositoryOrigin(location, "repository")
    sensor = RemoteInstigatorOrigin(origin, "tiny_new_data")
    instance.add_instigator_state(InstigatorState(sensor, InstigatorType.SENSOR, status))
    assert bool(_evaluate(schedule, tiny, instance).skip_message) == waits


def test_one_of_two_that_decide_at_the_same_time_asks(tiny, instance, monkeypatch):
    tiny.write({"automation": {"schedule": "@daily"}, "dataset": {"accumulate": True}})
    (schedule,) = _schedules(tiny)
    ledger = Ledger(instance.run_storage, "tiny")
    decide = schedules.room

    def while_the_sensor_asks(*given):
        assert ledger.take(ledger.turn())
        return decide(*given)

    monkeypatch.setattr(schedules, "room", while_the_sensor_asks)
    assert _why_not(schedule, tiny, instance) == "Another run was asked for at the same time"
    assert ledger.turn().said == ""  # the sensor waits for none
    monkeypatch.undo()
    assert _tick(schedule, tiny, instance)
    assert '"drop-1"' in ledger.turn().said


def test_a_source_that_does_not_answer_does_not_hide_that_a_run_may_begin(tiny, instance):
    tiny.write(
        {
            "automation": {"schedule": "@daily", "enabled": True, "runs_per_day": 1},
            "dataset": {"uri": "/outside/the/roots/rows.jsonl"},
        }
    )
    (schedule,) = _schedules(tiny)
    _the_sensor_has_asked_for(instance, "(dataset)")
    assert "budget of 1 automatic runs" in _why_not(schedule, tiny, instance)
