"""The pod of the training step, as dagster-k8s reads it from the op's tag."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster_k8s.job import get_user_defined_k8s_config

from ft_assets.config import KubernetesConfig
from ft_assets.kubernetes import pod_config, training_op_tags

EVERYTHING = KubernetesConfig(
    image="registry.example/train:1",
    gpus_per_worker=4,
    cpu="8",
    memory="64Gi",
    labels={"team": "nlp"},
    annotations={"example.com/cost": "research"},
    image_pull_secret="pull-me",
    hf_token_secret="hub-token",
)


@pytest.mark.parametrize("config", [KubernetesConfig(), EVERYTHING], ids=["defaults", "everything"])
def test_dagster_takes_the_tag_as_it_is(config):
    """A misspelled key would pass the decorator and fail when the step is launched."""

    @dg.op(tags=training_op_tags(config, "HF_TOKEN"))
    def training() -> None: ...

    read = get_user_defined_k8s_config(training.tags)
    given = pod_config(config, "HF_TOKEN")
    assert read.container_config == given["container_config"]
    assert read.job_spec_config == given["job_spec_config"]
    assert read.pod_spec_config == given.get("pod_spec_config", {})
    assert read.pod_template_spec_metadata == given.get("pod_template_spec_metadata", {})


def test_gpus_are_requested_and_limited_alike():
    resources = pod_config(EVERYTHING, "HF_TOKEN")["container_config"]["resources"]
    assert resources == {
        "requests": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "4"},
    }


def test_a_step_without_gpus_asks_for_none():
    config = pod_config(KubernetesConfig(gpus_per_worker=0), "HF_TOKEN")
    resources = config["container_config"]["resources"]
    assert "nvidia.com/gpu" not in resources["requests"] | resources["limits"]


def test_the_hub_token_is_a_reference_to_a_secret_and_never_a_value():
    assert {
        "name": "MY_TOKEN",
        "value_from": {"secret_key_ref": {"name": "hub-token", "key": "HF_TOKEN"}},
    } in pod_config(EVERYTHING, "MY_TOKEN")["container_config"]["env"]


def test_the_image_is_known_to_what_runs_in_it():
    container = pod_config(EVERYTHING, "MY_TOKEN")["container_config"]
    assert {"name": "FT_IMAGE", "value": container["image"]} in container["env"]


def test_several_gpus_get_shared_memory_beyond_the_64_mib_of_a_pod():
    config = pod_config(EVERYTHING, "HF_TOKEN")
    assert config["container_config"]["volume_mounts"] == [
        {"name": "shm", "mount_path": "/dev/shm"}
    ]
    assert config["pod_spec_config"]["volumes"] == [
        {"name": "shm", "empty_dir": {"medium": "Memory"}}
    ]
    assert "volume_mounts" not in pod_config(KubernetesConfig(), "HF_TOKEN")["container_config"]


def test_the_pull_secret_the_image_labels_and_annotations_are_the_pods():
    config = pod_config(EVERYTHING, "HF_TOKEN")
    assert config["pod_spec_config"]["image_pull_secrets"] == [{"name": "pull-me"}]
    assert config["container_config"]["image"] == "registry.example/train:1"
    assert config["pod_template_spec_metadata"] == {
        "labels": {"team": "nlp"},
        "annotations": {"example.com/cost": "research"},
    }


def test_kubernetes_never_restarts_the_job_and_ends_one_that_hangs():
    spec = pod_config(KubernetesConfig(), "HF_TOKEN")["job_spec_config"]
    assert spec == {"backoff_limit": 0, "active_deadline_seconds": 7 * 24 * 3600}


def test_only_the_training_step_has_a_pod_of_its_own_and_waits_for_a_gpu(tiny):
    from ft_assets.config import load_pipeline
    from ft_assets.pipeline import pipeline_definitions

    tiny.write({"kubernetes": {"gpus_per_worker": 1}})
    assets = pipeline_definitions(load_pipeline(tiny.file)).assets
    tagged = [asset.op.name for asset in assets if "dagster-k8s/config" in asset.op.tags]
    assert tagged == ["tiny__finetuned_model"]
    assert [asset.op.pool for asset in assets if asset.op.pool] == ["gpu"]


def test_a_step_that_trains_on_the_cpu_waits_for_no_gpu(tiny):
    from ft_assets.config import load_pipeline
    from ft_assets.pipeline import pipeline_definitions

    assets = pipeline_definitions(load_pipeline(tiny.file)).assets
    assert [asset.op.pool for asset in assets if asset.op.pool] == []
