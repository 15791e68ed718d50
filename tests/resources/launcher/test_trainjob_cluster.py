"""A step and its TrainJob on a real API server, through every state that a job can take.

The trainer's controllers are played by tests/support/train_job_controller.py; pods are processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kubernetes import client

from resources.errors import UserError
from resources.launcher.process import ChildFailedError
from resources.launcher.trainjob.manifest import train_job
from tests.support.train_job_controller import GROUP, RUNTIME, VERSION
from tests.support.train_job_fixtures import controller, trainer
from tests.support.train_job_step import MODULE, StepInThread, launcher, request

pytestmark = [pytest.mark.k8s, pytest.mark.slow]

__all__ = ["controller", "trainer"]

NAME = "ft-demo-0123456789abcdef"


@pytest.fixture
def plan(tmp_path):
    """Write what each node does."""

    def write(*node_0: list, node_1: list[list] | None = None) -> Path:
        file = tmp_path / "plan.json"
        file.write_text(json.dumps({"0": node_0, "1": node_1 or []}))
        return file

    return write


def manifest(namespace, plan, **changes):
    return train_job(
        request(NAME, namespace, **changes),
        command=[sys.executable, "-m", MODULE, str(plan)],
        env={},
        runtime_kind="ClusterTrainingRuntime",
        messages=str(plan.parent / "messages-x.jsonl"),
    )


def until(true, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.1)


def create(controller, body):
    return controller.custom.create_namespaced_custom_object(
        GROUP, VERSION, controller.namespace, "trainjobs", body
    )


def test_from_creation_through_a_queue_to_completion(controller, namespace, plan, tmp_path, capfd):
    """Created, suspended, resumed, queued, running, suspended for another, running, complete."""
    file = plan(
        ["say", "begin"],
        ["until", "go"],
        ["report", 3],
        *(["say", f"line {n}"] for n in range(500)),
    )
    controller.hold()
    asked = request(NAME, namespace, suspend=True)
    step = StepInThread(launcher(asked), file)
    step.wait_for("suspended")
    controller.go_on()
    controller.suspend(NAME, False)
    step.wait_for("running")
    said = ""

    def heard_of_the_first_pod() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return "begin" in said

    until(heard_of_the_first_pod)
    controller.suspend(NAME, True)
    step.wait_for("suspended after")
    assert controller.job(NAME)["metadata"]["annotations"]["ft-assets/ran-seconds"].isdigit()
    until(lambda: not controller.pods(NAME))
    controller.suspend(NAME, False)
    step.wait_for("resumed")
    (tmp_path / "go").touch()
    step.end()

    assert step.lines[0] == "made, for 2 nodes"
    assert step.lines[1].startswith("suspended: its queue")
    assert step.lines[-1] == "complete"
    assert [report["done"] for report in step.reports] == [1, 2, 3]
    assert step.seconds > 0
    said += capfd.readouterr().out
    own = [line for line in said.splitlines() if line.startswith(("line", "begin"))]
    assert own == ["begin", "begin", *(f"line {n}" for n in range(500))]
    assert controller.job(NAME) is None
    assert controller.pods(NAME) == []


def test_a_job_that_is_complete_before_the_first_look(controller, namespace, plan, tmp_path):
    """The step before was killed in its last moment: what node 0 reported is heard all the same."""
    file = plan()
    reports = [{"phase": "work", "done": 1, "total": 1}, {"phase": "finished", "seconds": 7.5}]
    messages = [
        {"__dagster_pipes_version": "0.1", "method": "report_custom_message",
         "params": {"payload": report}} for report in reports
    ]  # fmt: skip
    closed = {"__dagster_pipes_version": "0.1", "method": "closed", "params": {}}
    (tmp_path / "messages-x.jsonl").write_text(
        "".join(json.dumps(message) + "\n" for message in [*messages, closed])
    )
    create(controller, manifest(namespace, file))
    until(lambda: (controller.job(NAME).get("status") or {}).get("conditions"))
    step = StepInThread(launcher(request(NAME, namespace)), file)
    step.end()
    assert step.lines == ["it is there already, from an earlier attempt: following it", "complete"]
    assert step.reports == [reports[0]]
    assert step.seconds == 7.5
    assert controller.job(NAME) is None


def test_a_failure_names_the_pod_and_the_end_of_its_log(controller, namespace, plan):
    file = plan(["until", "never"], node_1=[["say", "all is well"], ["fail"]])
    step = StepInThread(launcher(request(NAME, namespace)), file)
    with pytest.raises(ChildFailedError) as failed:
        step.end()
    text = str(failed.value)
    assert "FailedJobs: jobset failed" in text
    assert f"pod {NAME}-node-0-1-" in text
    assert "ended with status 1 (Error)" in text
    assert text.endswith("RuntimeError: something nobody expected")
    assert controller.job(NAME) is None


def test_a_node_that_ran_out_of_memory_names_the_remedies(controller, namespace, plan, node_agent):
    step = StepInThread(
        launcher(request(NAME, namespace)), plan(["until", "never"]), memory_remedies=["do less"]
    )
    step.wait_for("running")
    (pod,) = [pod for pod in controller.pods(NAME) if "-node-0-0-" in pod["metadata"]["name"]]
    node_agent.oom_kill(namespace, pod["metadata"]["name"])
    with pytest.raises(ChildFailedError, match=r"status 137 \(OOMKilled\); do less"):
        step.end()


def test_a_step_that_lost_a_node_makes_its_job_again(
    controller, namespace, plan, node_agent, tmp_path
):
    step = StepInThread(launcher(request(NAME, namespace)), plan(["until", "go"]))
    step.wait_for("running")
    before = controller.job(NAME)
    (pod,) = [pod for pod in controller.pods(NAME) if "-node-0-0-" in pod["metadata"]["name"]]
    node_agent.kill(namespace, pod["metadata"]["name"])
    until(lambda: step.lines.count("made, for 2 nodes") == 2)
    assert controller.job(NAME)["metadata"]["uid"] != before["metadata"]["uid"]
    (tmp_path / "go").touch()
    step.end()
    assert step.lines[-1] == "complete"
    assert controller.job(NAME) is None


def test_a_refusal_of_the_worker_is_a_refusal_of_the_step(controller, namespace, plan, tmp_path):
    (tmp_path / "error.json").write_text('{"message": "an old one"}')
    step = StepInThread(launcher(request(NAME, namespace)), plan(["refuse"]))
    with pytest.raises(UserError, match=r"^row 7 of the plan is not valid: mend it$"):
        step.end()
    assert controller.job(NAME) is None


def test_a_job_that_somebody_deletes(controller, namespace, plan):
    step = StepInThread(launcher(request(NAME, namespace)), plan(["until", "never"]))
    step.wait_for("running")
    controller.custom.delete_namespaced_custom_object(GROUP, VERSION, namespace, "trainjobs", NAME)
    with pytest.raises(ChildFailedError, match="was deleted by somebody"):
        step.end()


def test_a_runtime_that_is_not_there(controller, namespace, plan):
    step = StepInThread(launcher(request(NAME, namespace, runtime="torch")), plan())
    with pytest.raises(UserError, match=rf"no training runtime 'torch' .*: {RUNTIME} \(Cluster"):
        step.end()
    assert controller.jobs() == []


def test_a_shared_folder_that_the_nodes_do_not_mount(controller, namespace, plan):
    step = StepInThread(launcher(request(NAME, namespace, shared_folder="/ft/runs/x")), plan())
    with pytest.raises(UserError, match=r"2 training nodes would not see /ft/runs/x.*FT_HOME"):
        step.end()


def test_the_deadline_for_queueing_names_what_the_job_waits_for(controller, namespace, plan):
    asked = request(NAME, namespace, queue_seconds=2.0, pod={"nodeSelector": {"gpu": "none"}})
    step = StepInThread(launcher(asked), plan())
    with pytest.raises(ChildFailedError, match=r"longer than the 2 s .*Unschedulable: 0/"):
        step.end()
    assert controller.job(NAME) is None


def test_the_deadline_for_running(controller, namespace, plan):
    step = StepInThread(
        launcher(request(NAME, namespace, run_seconds=1.0)), plan(["until", "never"])
    )
    with pytest.raises(ChildFailedError, match=r"ran \d+ s, longer than the 1 s that it may run"):
        step.end()
    assert controller.pods(NAME) == []


def test_a_secret_that_is_missing_is_not_waited_for(controller, namespace, plan):
    reference = {"name": "hf", "key": "HF_TOKEN"}
    env = ({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}},)
    step = StepInThread(launcher(request(NAME, namespace, env=env)), plan())
    with pytest.raises(ChildFailedError, match=r'ConfigError \(secret "hf" not found\): a secret'):
        step.end()
    assert controller.job(NAME) is None


def test_a_job_whose_work_is_done_is_cleared_away_and_one_of_other_work_is_not(
    controller, namespace, plan
):
    """The step before was killed, and its nodes came to their end without it."""
    done = launcher(request(NAME, namespace))
    done.clear_away()  # there is none
    create(controller, manifest(namespace, plan()))
    until(lambda: (controller.job(NAME).get("status") or {}).get("conditions"))
    done.clear_away()
    assert controller.job(NAME) is None
    assert controller.pods(NAME) == []

    create(controller, manifest(namespace, plan(), fingerprint="e" * 64))
    done.clear_away()
    assert controller.job(NAME) is not None


def test_a_job_of_other_work_under_our_name_is_left_alone(controller, namespace, plan):
    file = plan(["until", "never"])
    other = create(controller, manifest(namespace, file, fingerprint="e" * 64))
    step = StepInThread(launcher(request(NAME, namespace)), file)
    with pytest.raises(ChildFailedError, match="is not the one of this work"):
        step.end()
    assert controller.job(NAME)["metadata"]["uid"] == other["metadata"]["uid"]


def test_a_killed_step_finds_its_job_again_and_a_cancelled_one_deletes_it(
    controller, namespace, plan, tmp_path
):
    file = plan(["until", "never"], node_1=[["until", "never"]])
    command = [sys.executable, "-m", "tests.support.train_job_step", NAME, namespace, str(file)]
    killed = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)
    until(lambda: [pod["status"]["phase"] for pod in controller.pods(NAME)] == ["Running"] * 2)
    killed.kill()
    killed.wait()
    before = controller.job(NAME)

    cancelled = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)
    until(lambda: "dagster/run-id" in controller.job(NAME)["metadata"]["labels"])
    assert controller.job(NAME)["metadata"]["uid"] == before["metadata"]["uid"]
    cancelled.send_signal(signal.SIGINT)
    assert cancelled.wait(120) != 0
    assert controller.job(NAME) is None
    assert controller.pods(NAME) == []


def test_the_whole_manifest_is_accepted_and_nothing_of_it_is_dropped(
    controller, namespace, tmp_path
):
    """Structurally, by the CRD as published; its CEL rules: test_trainjob_manifest.py."""
    from tests.support.train_job_examples import full_manifest

    body = full_manifest(namespace)
    for dry_run in ("All", None):
        options = {} if dry_run is None else {"dry_run": dry_run}
        made = controller.custom.create_namespaced_custom_object(
            GROUP, VERSION, namespace, "trainjobs", body, **options
        )
        assert made["spec"] == body["spec"]
        assert body["metadata"].items() <= made["metadata"].items()
    body["spec"]["trainer"]["numNodes"] = "two"
    with pytest.raises(client.ApiException, match=r"numNodes.*must be of type integer"):
        create(controller, body)
