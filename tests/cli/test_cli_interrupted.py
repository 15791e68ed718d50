"""A killed or interrupted run: its child goes too, nothing half-made shows, the next resumes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.support.tiny_pipeline import NAME, TinyPipeline

pytestmark = pytest.mark.slow

_PATIENCE = 120
"""Seconds after which something that has to happen has not."""

LONG = {
    "num_epochs": 60,  # seconds, of which a fraction is needed
    "save_full_state": True,
}


def _wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while not happened():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.05)


def _has_checkpoint(pipeline: TinyPipeline) -> bool:
    return any((pipeline.home / "runs").glob("*/checkpoint-*/manifest.json"))


def _has_steps(pipeline: TinyPipeline) -> bool:
    files = (pipeline.home / "runs").glob("*/metrics.jsonl")
    return any(len(file.read_text().splitlines()) > 2 for file in files)


@contextmanager
def _training(
    pipeline: TinyPipeline, reached: Callable[[TinyPipeline], bool] = _has_checkpoint
) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """The command while its child trains, after the first checkpoint."""
    select = "raw_dataset,split_dataset,finetuned_model"
    process = pipeline.start("run", NAME, "--json", "--select", select)
    try:
        _wait_for(lambda: reached(pipeline), process)
        (worker,) = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "ft_assets.training.worker" in " ".join(child.cmdline())
        ]
        yield process, worker
    finally:
        process.kill()
        process.wait()


def _is_gone(worker: psutil.Process) -> bool:
    gone, _ = psutil.wait_procs([worker], timeout=_PATIENCE)
    return gone == [worker]


def _goes_on(pipeline: TinyPipeline) -> None:
    after = pipeline.ft("run", NAME, "--json", "--select", "finetuned_model")
    assert after.exit_code == 0, after.stderr
    outcome = pipeline.artifact("finetuned_model").manifest.metadata["outcome"]
    assert outcome["resumed_from_step"] > 0
    metrics = pipeline.artifact("finetuned_model").file("metrics.jsonl").read_text().splitlines()
    assert len(metrics) == outcome["steps"] == 4 * LONG["num_epochs"], "no step twice, none missing"
    assert not any((pipeline.home / "runs").iterdir())


def test_a_killed_run_takes_its_child_along_and_the_next_one_resumes(tiny):
    tiny.write({"training": LONG})

    with _training(tiny) as (process, worker):
        process.send_signal(signal.SIGKILL)
        assert _is_gone(worker)

    assert tiny.artifacts() == ["raw_dataset", "split_dataset"]
    _goes_on(tiny)


def test_an_interrupted_run_ends_its_child_and_is_not_a_success(tiny):
    tiny.write({"training": LONG})

    with _training(tiny) as (process, worker):
        process.send_signal(signal.SIGINT)
        assert _is_gone(worker)
        assert process.wait(timeout=_PATIENCE) == 1

    result = json.loads((tiny.root / "stdout").read_text())
    assert result["error"].startswith("interrupted at tiny__finetuned_model: run it again")
    assert not result["success"]
    assert tiny.artifacts() == ["raw_dataset", "split_dataset"]
    with tiny.instance() as instance:
        (record,) = instance.get_run_records()
    assert record.dagster_run.is_finished
    assert not record.dagster_run.is_success
    _goes_on(tiny)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_without_checkpoints_writes_one_before_it_ends(tiny, number):
    """A cancelled run, and an evicted pod: the step passes it on and waits for its child."""
    tiny.write(
        {"training": {**LONG, "save_full_state": False, "checkpoint_at_epoch": False}},
    )

    with _training(tiny, _has_steps) as (process, worker):
        process.send_signal(number)
        assert _is_gone(worker)
        assert process.wait(timeout=_PATIENCE) != 0

    (checkpoint,) = (tiny.home / "runs").glob("*/checkpoint-*")
    assert json.loads((checkpoint / "manifest.json").read_text())["full"] is True
    _goes_on(tiny)


def test_a_run_killed_while_it_publishes_publishes_the_same_model_later(tiny):
    """The training process is done; its model is not trained again."""
    tiny.write({"training": {"num_epochs": 2}})
    process = tiny.start(
        "run", NAME, "--json", "--select", "raw_dataset,split_dataset,finetuned_model"
    )
    _wait_for(lambda: any((tiny.home / "runs").glob("*/outcome.json")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    outcomes = [file.read_text() for file in (tiny.home / "runs").glob("*/outcome.json")]

    after = tiny.ft("run", NAME, "--json", "--select", "finetuned_model")
    assert after.exit_code == 0, after.stderr
    outcome = tiny.artifact("finetuned_model").manifest.metadata["outcome"]
    assert [outcome] == [json.loads(text) for text in outcomes]
    assert not any((tiny.home / "runs").iterdir())


def test_with_another_number_of_processes_it_begins_anew_and_says_what_it_left(tiny):
    tiny.write({"training": LONG})
    with _training(tiny) as (process, worker):
        process.send_signal(signal.SIGKILL)
        assert _is_gone(worker)
    (left,) = (tiny.home / "runs").iterdir()

    tiny.write({"training": {**LONG, "num_epochs": 2}, "kubernetes": {"procs_per_worker": "2"}})
    after = tiny.ft("run", NAME, "--json", "--select", "finetuned_model")
    assert after.exit_code == 0, after.stderr
    outcome = tiny.artifact("finetuned_model").manifest.metadata["outcome"]
    assert (outcome["resumed_from_step"], outcome["steps"]) == (0, 8)
    with tiny.instance() as instance:
        (record, *_) = instance.get_run_records(limit=1)
        events = instance.all_logs(record.dagster_run.run_id)
    said = "\n".join(event.message for event in events)
    assert f"is not gone on with ({left.name}, checkpoint-" in said
    assert "it was made by 1 process (1 x 1) and this one by 2 processes (1 x 2)" in said
    assert "num_epochs was 60 and is 2" in said
