"""GPU hours of automatic runs: of trainings that were published, that go on, and that died."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.objects import StepFailureData, StepSuccessData
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.utils import make_new_run_id

from ft_assets.automation.new_data.limits import gpu_hours
from ft_assets.config import Pipeline, PipelineSpec

HOUR = 3600.0
DEFAULT, LORA = "mine__finetuned_model", "mine__lora__finetuned_model"
START, DONE, DIED = (
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
)
SAYS = {START: None, DONE: StepSuccessData(0.0), DIED: StepFailureData(None, None)}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _pipeline(**kubernetes) -> Pipeline:
    spec = {
        "name": "mine",
        "dataset": {"uri": "/data/{partition}.jsonl"},
        "recipes": {"lora": {"learning_rate": 1e-3}},
        "kubernetes": kubernetes,
    }
    return Pipeline(PipelineSpec.model_validate(spec), Path("mine.yaml"))


class Run:
    """An automatic run; ``hours`` are reckoned from its first step on."""

    def __init__(self, instance: dg.DagsterInstance, **tags: str) -> None:
        self.instance = instance
        self.run = DagsterRun(
            job_name="mine",
            run_id=make_new_run_id(),
            tags={"ft/automatic": "mine", **{f"ft/{name}": value for name, value in tags.items()}},
            status=dg.DagsterRunStatus.STARTED,
        )
        instance.add_run(self.run)
        (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[self.run.run_id]))
        self.begin = record.create_timestamp.timestamp()

    def step(self, key: str, start: float, end: float | None = None, how=DONE) -> Run:
        self._happens(start, START, key)
        if end is not None:
            self._happens(end, how, key)
        return self

    def fails(self) -> Run:
        failure = DagsterEvent(DagsterEventType.PIPELINE_FAILURE.value, job_name="mine")
        self.instance.run_storage.handle_run_event(self.run.run_id, failure)
        return self

    def at(self, hours: float) -> float:
        return self.begin + hours * HOUR

    def _happens(self, hours: float, what: DagsterEventType, step: str) -> None:
        self.instance.event_log_storage.store_event(
            EventLogEntry(
                error_info=None,
                level="debug",
                user_message="",
                run_id=self.run.run_id,
                timestamp=self.at(hours),
                step_key=step,
                job_name="mine",
                dagster_event=DagsterEvent(
                    what.value, job_name="mine", step_key=step, event_specific_data=SAYS[what]
                ),
            )
        )


def test_a_recipe_that_died_counts_beside_one_that_was_published(instance):
    run = Run(instance, **{"gpu_hours": "1", "gpu_hours.default": "1"})
    run.step(DEFAULT, 0, 1).step(LORA, 1, 9, how=DIED).fails()
    assert gpu_hours(_pipeline(), instance, run.at(10)) == pytest.approx(9.0)


def test_it_counts_too_where_the_run_has_one_tag_for_all(instance):
    """As runs have it from before recipes had tags of their own."""
    run = Run(instance, gpu_hours="1").step(DEFAULT, 0, 1).step(LORA, 1, 9, how=DIED).fails()
    assert gpu_hours(_pipeline(), instance, run.at(10)) == pytest.approx(9.0)


def test_the_tag_of_a_run_counts_where_nothing_else_is_known(instance):
    run = Run(instance, gpu_hours="2.5")
    assert gpu_hours(_pipeline(), instance, run.at(1)) == pytest.approx(2.5)


def test_a_published_training_counts_as_measured_and_not_by_how_long_its_step_took(instance):
    """A step waits for a GPU too, and a CPU has none."""
    run = Run(instance, **{"gpu_hours": "0.5", "gpu_hours.default": "0.5", "gpu_hours.lora": "0"})
    run.step(DEFAULT, 0, 4).step(LORA, 0, 4)
    assert gpu_hours(_pipeline(), instance, run.at(5)) == pytest.approx(0.5)


def test_a_training_that_goes_on_counts_up_to_now_on_all_its_gpus(instance):
    run = Run(instance).step("mine__raw_dataset", 0, 1).step(DEFAULT, 1)
    pipeline = _pipeline(gpus_per_worker=4, workers=2)
    assert gpu_hours(pipeline, instance, run.at(3)) == pytest.approx(16.0)


def test_one_recipe_published_and_another_going_on_count_together(instance):
    run = Run(instance, **{"gpu_hours": "1", "gpu_hours.default": "1"})
    run.step(DEFAULT, 0, 1).step(LORA, 1)
    assert gpu_hours(_pipeline(), instance, run.at(3)) == pytest.approx(3.0)


def test_a_step_that_was_lost_with_its_run_takes_no_more(instance):
    """A pod that is killed leaves a step that began and never ended."""
    run = Run(instance).step(DEFAULT, 0).fails()
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run.run_id]))
    assert record.end_time is not None
    lasted = (record.end_time - run.begin) / HOUR
    assert gpu_hours(_pipeline(), instance, run.at(8)) == pytest.approx(lasted, abs=0.01)


def test_runs_by_hand_and_those_of_other_pipelines_do_not_count(instance):
    run = Run(instance, automatic="other", gpu_hours="5").step(DEFAULT, 0, 5)
    assert gpu_hours(_pipeline(), instance, run.at(6)) == 0
