"""Every pod of ours is what Kubernetes' own schemas, and a real API server, take."""

from __future__ import annotations

import pytest
from kubernetes.client import BatchV1Api, CoreV1Api
from kubernetes_validate import utils as schemas

from ft_assets.config import find_pipelines
from ft_assets.config.launchpad import BLOCK_OF_ASSET
from ft_assets.kubernetes import pod_template
from tests.kubernetes.everything import EVERYTHING, spec_with

OLDEST = (1, 28)
VERSIONS = [
    version
    for version in dict.fromkeys(schemas.all_versions())
    if tuple(map(int, version.split(".")[:2])) >= OLDEST
]
STEPS = {
    asset: {"gpus": 2, "memory": "8Gi"} for asset in BLOCK_OF_ASSET if asset != "finetuned_model"
}
EXAMPLES = {
    "everything": spec_with({**EVERYTHING, "steps": STEPS}),
    "everything, two workers": spec_with({**EVERYTHING, "workers": 2}),
    "nothing": spec_with({}),
    **{pipeline.spec.name: pipeline.spec for pipeline in find_pipelines()},
}


@pytest.fixture(scope="module")
def jobs(job_of):
    return [job_of(spec, asset) for spec in EXAMPLES.values() for asset in BLOCK_OF_ASSET]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_job_of_every_step_and_the_pods_of_a_train_job_are_valid(jobs, version):
    pods = [_pod(spec) for spec in EXAMPLES.values()]
    # As lists: each call reads the schemas of the whole version anew.
    schemas.validate(_list_of("JobList", "batch/v1", jobs), version, strict=True)
    schemas.validate(_list_of("PodList", "v1", pods), version, strict=True)


@pytest.mark.parametrize(
    "wrong", [{"tolerations": [{"efect": "NoSchedule"}]}, {"nodeSelecter": {}}, {"volumes": {}}]
)
def test_the_schemas_do_refuse_what_is_wrong(wrong):
    pod = _pod(EXAMPLES["nothing"])
    pod["spec"].update(wrong)
    with pytest.raises(schemas.ValidationError):
        schemas.validate(_list_of("PodList", "v1", [pod]), VERSIONS[-1], strict=True)


@pytest.mark.k8s
def test_a_real_api_server_takes_every_pod(control_plane, namespace, jobs):
    """The schemas know no rule beyond types: quantities, labels, mounts and tolerations."""
    client = control_plane.client()
    for job in jobs:
        made = BatchV1Api(client).create_namespaced_job(namespace, job, dry_run="All")
        assert made.spec.backoff_limit == 0
    for spec in EXAMPLES.values():
        CoreV1Api(client).create_namespaced_pod_template(
            namespace,
            {"metadata": {"name": "node"}, "template": _template(spec)},
            dry_run="All",
        )


def _template(spec):
    template = pod_template(spec.kubernetes, "HF_TOKEN")
    template["spec"]["containers"][0].setdefault("image", "registry.example/trainer:1")
    return template


def _pod(spec):
    return {"apiVersion": "v1", "kind": "Pod", **_template(spec)}


def _list_of(kind, version, items):
    return {"apiVersion": version, "kind": kind, "metadata": {}, "items": items}
