"""A step's real Job, as dagster-k8s makes it from the tag of the op."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job, get_user_defined_k8s_config
from kubernetes.client import ApiClient

from ft_assets.config import PipelineSpec
from ft_assets.kubernetes import step_tags

Job = dict[str, Any]
JobOf = Callable[..., Job]

RUN = {
    "image_pull_policy": "Always",
    "service_account_name": "dagster",
    "image_pull_secrets": [{"name": "site-pull"}],
    "env_secrets": ["site-env"],
    "env": [{"name": "FT_EXECUTOR", "value": "k8s"}],
    "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "ft-home"}}],
    "volume_mounts": [{"name": "home", "mountPath": "/ft-home"}],
    "labels": {"site": "a"},
}
"""What an instance says of the pods of all its runs."""


@pytest.fixture(scope="session")
def job_of() -> JobOf:
    """The Job of a step, camelCase: the instance's words, and over them those of the op's tag."""

    def made(spec: PipelineSpec, asset: str) -> Job:
        tags = {name: json.dumps(value) for name, value in step_tags(spec, asset).items()}
        context = K8sContainerContext(**RUN).merge(
            K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(tags))
        )
        job = construct_dagster_k8s_job(
            context.get_k8s_job_config("registry.example/orchestrator:1", _Launcher()),
            ["dagster", "api", "execute_step"],
            "dagster-step-1",
            user_defined_k8s_config=context.run_k8s_config,
            labels={"dagster/run-id": "1"},
        )
        return ApiClient().sanitize_for_serialization(job)

    return made


class _Launcher:
    """What ``get_k8s_job_config`` asks of the run launcher."""

    dagster_home = "/opt/dagster/dagster_home"
    instance_config_map = "dagster-instance"
    postgres_password_secret = None
    job_image = None
