"""A pipeline's schedule: off at first, and then its job on the newest drop."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.code_location import default_resources
from ft_assets.config import load_pipeline
from ft_assets.pipeline import pipeline_definitions
from resources.errors import UserError
from resources.sources import Sources


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def _schedules(pipeline):
    return list(pipeline_definitions(load_pipeline(pipeline.file)).schedules or [])


def _tick(schedule, pipeline, instance):
    sources = Sources(data_roots=[str(pipeline.data)])
    location = dg.Definitions.merge(
        dg.Definitions(resources={**default_resources(), "sources": sources}),
        pipeline_definitions(load_pipeline(pipeline.file)),
    )
    with dg.build_schedule_context(
        instance, resources={"sources": sources}, repository_def=location.get_repository_def()
    ) as context:
        return schedule.evaluate_tick(context).run_requests


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
