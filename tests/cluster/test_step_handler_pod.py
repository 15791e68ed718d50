"""A step's pod is what the run's config says."""

from __future__ import annotations

import json

import pytest

from ft_assets.cluster.step_pod import POD_TAG, pod_of_step
from ft_assets.config import find_pipelines
from ft_assets.kubernetes import queue_timeout, step_tags
from resources.errors import UserError

MANAGED = "app.kubernetes.io/managed-by"


@pytest.fixture
def sft():
    return next(p.spec for p in find_pipelines() if p.spec.name == "sft")


def tags_of(spec, asset):
    return {name: json.dumps(value) for name, value in step_tags(spec, asset).items()}


def test_without_config_it_is_the_pod_of_the_pipelines_file(sft):
    tags = tags_of(sft, "finetuned_model")
    pod = pod_of_step("sft__finetuned_model", tags, {})
    assert json.loads(pod.tags[POD_TAG]) == json.loads(tags[POD_TAG])
    assert pod.queue_seconds == queue_timeout(sft, "finetuned_model")


def test_an_op_of_nobody_keeps_its_pod_and_gets_our_label():
    mine = {POD_TAG: json.dumps({"container_config": {"image": "x"}}), "team": "a"}
    pod = pod_of_step("somebodys_op", mine, {})
    config = json.loads(pod.tags[POD_TAG])
    assert pod.tags["team"] == "a"
    assert config["container_config"] == {"image": "x"}
    assert config["job_metadata"]["labels"][MANAGED] == "ft-assets"
    assert config["pod_template_spec_metadata"]["labels"][MANAGED] == "ft-assets"
    assert pod.queue_seconds is None


def test_labels_that_are_there_stay():
    mine = {POD_TAG: json.dumps({"job_metadata": {"labels": {"team": "a"}}})}
    labels = json.loads(pod_of_step("op", mine, {}).tags[POD_TAG])["job_metadata"]["labels"]
    assert labels == {"team": "a", MANAGED: "ft-assets"}


def test_a_config_that_is_not_valid_is_refused(sft):
    op = "sft__finetuned_model"
    with pytest.raises(UserError, match="not valid"):
        pod_of_step(op, {}, {"ops": {op: {"config": {"num_epochs": -1}}}})


@pytest.mark.parametrize("asset", ["finetuned_model", "eval_report", "raw_dataset"])
def test_one_run_can_have_another_pod(sft, asset):
    op = f"sft__{asset}"
    workers = {"workers": 1} if asset == "finetuned_model" else {}
    changed = {**workers, "memory": "3Gi", "node_selector": {"zone": "b"}, "queue_timeout": 90}
    pod = pod_of_step(op, tags_of(sft, asset), {"ops": {op: {"config": {"kubernetes": changed}}}})
    config = json.loads(pod.tags[POD_TAG])
    assert config["container_config"]["resources"]["requests"]["memory"] == "3Gi"
    selector = config["pod_spec_config"]
    assert (selector.get("nodeSelector") or selector.get("node_selector")) == {"zone": "b"}
    assert pod.queue_seconds == 90
