"""Which step gets which pod."""

from __future__ import annotations

import pytest

from ft_assets.config.kubernetes import OTHER_STEPS, TRAINING
from ft_assets.config.launchpad import BLOCK_OF_ASSET
from ft_assets.kubernetes import queue_timeout, step_pod, step_tags
from resources.launcher.process import ProcessLauncher
from tests.kubernetes.everything import EVERYTHING, spec_with

GPU = "nvidia.com/gpu"


def container_of(pod):
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    return container


def test_every_asset_of_a_pipeline_is_a_step_with_a_pod():
    assert {TRAINING, *OTHER_STEPS} == set(BLOCK_OF_ASSET)


@pytest.mark.parametrize("asset", OTHER_STEPS)
def test_a_step_that_is_not_named_shares_the_image_of_the_run_and_asks_for_nothing(job_of, asset):
    job = job_of(spec_with(EVERYTHING), asset)
    container = container_of(job)
    assert container["image"] == "registry.example/orchestrator:1"
    assert container["resources"] == {}
    pod = job["spec"]["template"]["spec"]
    assert not {"nodeSelector", "tolerations", "affinity", "priorityClassName"} & set(pod)
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] == 86_400


def test_what_all_pods_of_a_pipeline_share_is_taken_over(job_of):
    job = job_of(spec_with(EVERYTHING, hf_token_env="MY_TOKEN"), "token_report")
    pod = job["spec"]["template"]["spec"]
    assert job["spec"]["template"]["metadata"]["labels"]["team"] == "nlp"
    assert pod["serviceAccountName"] == "trainer"
    assert {"name": "pull-me"} in pod["imagePullSecrets"]
    assert pod["securityContext"]["runAsUser"] == 1000
    assert "MY_TOKEN" in [entry["name"] for entry in container_of(job)["env"]]
    assert job["spec"]["ttlSecondsAfterFinished"] == 7200


def test_a_step_that_is_named_gets_what_it_says(job_of):
    evaluation = {
        "image": "registry.example/evaluate:1",
        "cpu": 8,
        "memory": "32Gi",
        "gpus": 2,
        "env": {"VLLM_USE_V1": "1"},
        "labels": {"team": "eval"},
        "node_selector": {"gpu": "a10"},
        "deadline": 7200,
        "queue_timeout": 60,
    }
    spec = spec_with({"labels": {"team": "nlp", "site": "b"}, "steps": {"eval_report": evaluation}})
    job = job_of(spec, "eval_report")
    container = container_of(job)
    assert container["image"] == "registry.example/evaluate:1"
    assert container["resources"]["limits"] == {"memory": "32Gi", GPU: "2"}
    assert container["resources"]["requests"] == {"cpu": "8", "memory": "32Gi", GPU: "2"}
    assert {"name": "VLLM_USE_V1", "value": "1"} in container["env"]
    assert "/dev/shm" in [mount["mountPath"] for mount in container["volumeMounts"]]
    pod = job["spec"]["template"]
    assert pod["spec"]["nodeSelector"] == {"gpu": "a10"}
    assert {"team": "eval", "site": "b"}.items() <= pod["metadata"]["labels"].items()
    assert job["spec"]["activeDeadlineSeconds"] == 7200
    assert queue_timeout(spec, "eval_report") == 60
    assert queue_timeout(spec, "raw_dataset") == 21_600
    assert queue_timeout(spec_with({"deadline": 60}), "finetuned_model") == 60
    assert step_pod(spec, "baseline_report") != step_pod(spec, "eval_report")
    assert GPU not in str(step_pod(spec, "baseline_report"))


def test_the_step_of_a_train_job_asks_for_no_device_and_stands_on_no_gpu_node(job_of):
    spec = spec_with({**EVERYTHING, "workers": 2, "launcher_memory": "8Gi"})
    job = job_of(spec, TRAINING)
    container = container_of(job)
    assert container["image"] == EVERYTHING["image"]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "100Gi"},
        "limits": {"memory": "8Gi", "ephemeral-storage": "100Gi"},
    }
    pod = job["spec"]["template"]["spec"]
    assert not {"nodeSelector", "tolerations", "affinity", "runtimeClassName"} & set(pod)
    assert "/dev/shm" not in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert "/mnt/models" in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert pod["serviceAccountName"] == "dagster"  # the run's: it makes the TrainJob
    assert job["spec"]["activeDeadlineSeconds"] == 100_600  # what it may queue, and then run


@pytest.mark.parametrize("asset", [TRAINING, *OTHER_STEPS])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_pod_has_longer_to_end_than_its_launcher_gives_the_worker(job_of, asset, workers):
    pod = job_of(spec_with({"workers": workers}), asset)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 90
    assert ProcessLauncher().termination_timeout_seconds <= 90 - 30


def test_the_same_specification_gives_the_same_tags():
    spec = spec_with(EVERYTHING)
    again = type(spec).model_validate(spec.model_dump())
    for asset in BLOCK_OF_ASSET:
        assert step_tags(spec, asset) == step_tags(again, asset)


def test_every_asset_of_a_pipeline_carries_its_pod_and_waits_for_a_gpu_where_it_asks_for_one(tiny):
    from ft_assets.config import load_pipeline
    from ft_assets.pipeline import pipeline_definitions

    steps = {"eval_report": {"gpus": 1}}
    tiny.write({"kubernetes": {"gpus_per_worker": 1, "steps": steps}})
    assets = list(pipeline_definitions(load_pipeline(tiny.file)).assets)
    assert all("dagster-k8s/config" in asset.op.tags for asset in assets)
    assert sorted(asset.op.name for asset in assets if asset.op.pool == "gpu") == [
        "tiny__eval_report",
        "tiny__finetuned_model",
    ]


def test_a_pipeline_on_the_cpu_waits_for_no_gpu(tiny):
    from ft_assets.config import load_pipeline
    from ft_assets.pipeline import pipeline_definitions

    assets = pipeline_definitions(load_pipeline(tiny.file)).assets
    assert [asset.op.pool for asset in assets if asset.op.pool] == []


@pytest.mark.parametrize(("workers", "token"), [(1, False), (2, None)])
def test_only_the_step_that_makes_a_train_job_has_a_token_of_the_cluster(workers, token):
    changed = spec_with({"workers": workers})
    for asset in ("raw_dataset", "eval_report"):
        pod = step_pod(changed, asset)["pod_spec_config"]
        assert pod["automountServiceAccountToken"] is False
    assert (
        step_pod(changed, "finetuned_model")["pod_spec_config"].get("automountServiceAccountToken")
        is token
    )
