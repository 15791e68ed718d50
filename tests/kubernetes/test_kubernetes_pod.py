"""Where each parameter of the block lands: in the step's Job, and in a TrainJob's pods."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ft_assets.config import KubernetesConfig
from ft_assets.kubernetes import pod_template
from tests.kubernetes.everything import EVERYTHING, spec_with

TRAINING = "finetuned_model"
SECRET_KEY = {"name": "wandb", "key": "api-key"}
HUB_TOKEN = {"secretKeyRef": {"name": "hub-token", "key": "HF_TOKEN"}}

# parameter: places below the pod template's spec (pod), its one container, its metadata (meta), or
# the job's spec (job), and what stands there for the value in EVERYTHING. A list must hold the
# entries; everything else must be equal.
PLACES: dict[str, list[tuple[str, Any]]] = {
    "image": [("container.image", EVERYTHING["image"])],
    "image_pull_policy": [("container.imagePullPolicy", "IfNotPresent")],
    "image_pull_secret": [("pod.imagePullSecrets", [{"name": "pull-me"}])],
    "image_pull_secrets": [("pod.imagePullSecrets", [{"name": "pull-me-too"}])],
    "cpu": [("container.resources.requests.cpu", "7500m")],
    "cpu_limit": [("container.resources.limits.cpu", "8")],
    "memory": [("container.resources.requests.memory", "63Gi")],
    "memory_limit": [("container.resources.limits.memory", "1e11")],
    "ephemeral_storage": [
        ("container.resources.requests.ephemeral-storage", "100Gi"),
        ("container.resources.limits.ephemeral-storage", "100Gi"),
    ],
    "shared_memory": [
        ("pod.volumes", [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}]),
        ("container.volumeMounts", [{"name": "shm", "mountPath": "/dev/shm"}]),
    ],
    "gpus_per_worker": [
        ("container.resources.requests.amd.com/gpu", "4"),
        ("container.resources.limits.amd.com/gpu", "4"),
    ],
    "gpu_resource": [("container.resources.limits.amd.com/gpu", "4")],
    "extended_resources": [
        ("container.resources.requests.rdma/hca", "1"),
        ("container.resources.limits.rdma/hca", "1"),
    ],
    "env": [
        (
            "container.env",
            [
                {"name": "NCCL_IB_HCA", "value": "mlx5_0,mlx5_1"},
                {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": SECRET_KEY}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
        )
    ],
    "env_from_secrets": [("container.envFrom", [{"secretRef": {"name": "object-store"}}])],
    "env_from_config_maps": [("container.envFrom", [{"configMapRef": {"name": "site.settings"}}])],
    "labels": [("meta.labels.team", "nlp"), ("meta.labels.kueue.x-k8s.io/queue-name", "gpu")],
    "annotations": [("meta.annotations.example.com/cost", "research: 1,000 a month")],
    "node_selector": [("pod.nodeSelector", EVERYTHING["node_selector"])],
    "tolerations": [("pod.tolerations", EVERYTHING["tolerations"])],
    "affinity": [("pod.affinity", EVERYTHING["affinity"])],
    "priority_class": [("pod.priorityClassName", "training")],
    "runtime_class": [("pod.runtimeClassName", "nvidia")],
    "scheduler": [("pod.schedulerName", "volcano")],
    "service_account": [("pod.serviceAccountName", "trainer")],
    "volumes": [("pod.volumes", EVERYTHING["volumes"])],
    "volume_mounts": [("container.volumeMounts", EVERYTHING["volume_mounts"])],
    "pvcs": [
        (
            "pod.volumes",
            [{"name": "pvc-models", "persistentVolumeClaim": {"claimName": "models"}}],
        ),
        ("container.volumeMounts", [{"name": "pvc-models", "mountPath": "/mnt/models"}]),
    ],
    "run_as_non_root": [("pod.securityContext.runAsNonRoot", True)],
    "run_as_user": [("pod.securityContext.runAsUser", 1000)],
    "run_as_group": [("pod.securityContext.runAsGroup", 1000)],
    "fs_group": [("pod.securityContext.fsGroup", 2000)],
    "read_only_root": [
        ("container.securityContext.readOnlyRootFilesystem", True),
        ("pod.volumes", [{"name": "tmp", "emptyDir": {}}]),
        ("container.volumeMounts", [{"name": "tmp", "mountPath": "/tmp"}]),
        ("container.env", [{"name": "HOME", "value": "/tmp"}]),
    ],
    "add_capabilities": [
        ("container.securityContext.capabilities", {"drop": ["ALL"], "add": ["IPC_LOCK"]})
    ],
    "termination_grace": [("pod.terminationGracePeriodSeconds", 120)],
    "hf_token_secret": [("container.env", [{"name": "MY_TOKEN", "valueFrom": HUB_TOKEN}])],
}
OF_THE_JOB = {
    "deadline": ("job.activeDeadlineSeconds", 100_000),
    "ttl": ("job.ttlSecondsAfterFinished", 7200),
}
# What says nothing of a step's pod, and where it is used.
ELSEWHERE = {
    "workers": "numNodes of the TrainJob",
    "procs_per_worker": "numProcPerNode of the TrainJob, and the plan",
    "launcher_cpu": "with more than one worker",
    "launcher_memory": "with more than one worker",
    "runtime": "with more than one worker",
    "gpu_memory": "ft plan",
    "gpu_hour_price": "ft plan",
    "queue_timeout": "the watchdog",
    "task_config": "read as the other parameters",
    "steps": "the other steps",
}


@pytest.fixture(scope="module")
def job(job_of):
    return job_of(spec_with(EVERYTHING, hf_token_env="MY_TOKEN"), TRAINING)


@pytest.fixture(scope="module")
def template():
    return pod_template(KubernetesConfig.model_validate(EVERYTHING), "MY_TOKEN")


def test_the_table_knows_every_parameter():
    assert set(PLACES) | set(OF_THE_JOB) | set(ELSEWHERE) == set(KubernetesConfig.model_fields)
    assert set(EVERYTHING) <= set(PLACES) | set(OF_THE_JOB) | {"queue_timeout"}


def test_every_parameter_of_the_pod_has_a_value_in_the_table():
    default = KubernetesConfig()
    assert {name for name in PLACES if name not in EVERYTHING} == {
        "run_as_non_root",
        "read_only_root",
    }
    for name, value in EVERYTHING.items():
        assert getattr(default, name) != value, name


@pytest.mark.parametrize("parameter", PLACES)
def test_a_parameter_stands_in_the_job_of_the_step(job, parameter):
    for place, expected in PLACES[parameter]:
        _assert_holds(_look(job["spec"]["template"], job["spec"], place), expected)


@pytest.mark.parametrize("parameter", PLACES)
def test_a_parameter_stands_in_the_pods_of_a_train_job(template, parameter):
    for place, expected in PLACES[parameter]:
        _assert_holds(_look(template, {}, place), expected)


@pytest.mark.parametrize("parameter", OF_THE_JOB)
def test_a_limit_of_time_stands_in_the_job(job, parameter):
    place, expected = OF_THE_JOB[parameter]
    assert _look({}, job["spec"], place) == expected


def test_what_the_instance_says_of_all_pods_stays(job):
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"name": "site-pull"} in pod["imagePullSecrets"]
    assert {"secretRef": {"name": "site-env"}} in container["envFrom"]
    assert {"name": "FT_EXECUTOR", "value": "k8s"} in container["env"]
    assert {"name": "home", "mountPath": "/ft-home"} in container["volumeMounts"]


def test_no_place_is_mounted_twice_where_the_instance_says_the_same_of_tmp(job_of, monkeypatch):
    from tests.kubernetes import conftest

    told = copy.deepcopy(conftest.RUN)
    told["volumes"].append({"name": "tmp", "emptyDir": {}})
    told["volume_mounts"].append({"name": "tmp", "mountPath": "/tmp"})
    monkeypatch.setattr(conftest, "RUN", told)
    pod = job_of(spec_with({}), TRAINING)["spec"]["template"]["spec"]
    places = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert sorted(places) == ["/ft-home", "/tmp"]


def test_the_job_and_its_pod_can_be_found(job):
    labels = {
        "app.kubernetes.io/managed-by": "ft-assets",
        "ft-assets/pipeline": "mine",
        "ft-assets/asset": TRAINING,
        "dagster/run-id": "1",
    }
    assert labels.items() <= job["metadata"]["labels"].items()
    assert labels.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_kubernetes_never_restarts_the_job(job):
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_image_is_known_to_what_runs_in_it(job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": "FT_IMAGE", "value": container["image"]} in container["env"]


def test_the_pod_may_do_nothing_that_a_step_does_not_need(job_of):
    pod = job_of(spec_with({}), TRAINING)["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_a_root_that_can_be_written_needs_no_folder_of_its_own():
    template = pod_template(KubernetesConfig(read_only_root=False), "HF_TOKEN")
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    assert "volumes" not in template["spec"]
    assert "env" not in container


def test_a_users_own_volumes_take_the_place_of_ours():
    config = KubernetesConfig.model_validate(
        {
            "gpus_per_worker": 2,
            "env": {"HOME": "/mnt/home"},
            "volumes": [{"name": "fast", "emptyDir": {}}, {"name": "big", "emptyDir": {}}],
            "volume_mounts": [
                {"name": "fast", "mountPath": "/tmp/"},
                {"name": "big", "mountPath": "/dev/shm"},
            ],
        }
    )
    spec = pod_template(config, "HF_TOKEN")["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["fast", "big"]
    assert spec["containers"][0]["env"] == [{"name": "HOME", "value": "/mnt/home"}]


@pytest.mark.parametrize(
    ("gpus", "size", "volume"),
    [
        (1, None, None),
        (2, None, {"medium": "Memory"}),
        (0, "1Gi", {"medium": "Memory", "sizeLimit": "1Gi"}),
    ],
)
def test_several_gpus_get_shared_memory_beyond_the_64_mib_of_a_pod(gpus, size, volume):
    config = KubernetesConfig(gpus_per_worker=gpus, shared_memory=size)
    volumes = pod_template(config, "HF_TOKEN")["spec"]["volumes"]
    shared = [one["emptyDir"] for one in volumes if one["name"] == "shm"]
    assert shared == ([] if volume is None else [volume])


def test_a_pod_without_gpus_names_none():
    config = KubernetesConfig(gpus_per_worker=0)
    resources = pod_template(config, "HF_TOKEN")["spec"]["containers"][0]["resources"]
    assert resources == {
        "requests": {"cpu": "4", "memory": "64Gi"},
        "limits": {"memory": "64Gi"},
    }


def test_a_claim_whose_name_is_no_volumes_name_gets_one_that_is():
    config = KubernetesConfig(pvcs={"team.data": "/mnt/data", "x" * 100: "/mnt/x"})
    volumes = pod_template(config, "HF_TOKEN")["spec"]["volumes"]
    names = [one["name"] for one in volumes if "persistentVolumeClaim" in one]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 and "." not in name for name in names)


def _look(template: Any, job: Any, place: str) -> Any:
    """What stands at a place; a part of the path may hold dots itself."""
    start, _, rest = place.partition(".")
    roots = {
        "pod": template.get("spec"),
        "container": template.get("spec", {"containers": [None]})["containers"][0],
        "meta": template.get("metadata"),
        "job": job,
    }
    value = roots[start]
    while rest:
        key = max((key for key in value if f"{rest}.".startswith(f"{key}.")), key=len)
        value, rest = value[key], rest[len(key) + 1 :]
    return value


def _assert_holds(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        assert [entry for entry in expected if entry not in found] == []
    else:
        assert found == expected
