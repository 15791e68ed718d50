"""Training on several nodes: the request for a TrainJob out of the pipeline and the plan.

Belongs here: which value goes where. Does not belong here: how a TrainJob is written or followed
(``resources.launcher.trainjob``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ft_assets.config import PipelineSpec
from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.kubernetes.names import labels_of
from ft_assets.kubernetes.pod import pod_template
from resources.errors import UserError
from resources.launcher.trainjob.manifest import PATCHABLE
from resources.launcher.trainjob.request import (
    QUEUE_LABEL,
    RUN_LABEL,
    TrainJobRequest,
    job_name,
)

if TYPE_CHECKING:
    from ft_assets.training.plan import TrainPlan

_CONTAINER_FIELDS = frozenset(
    {"name", "image", "resources", "env", "volumeMounts", "securityContext"}
)
"""What a TrainJob can say of its training container."""
_PARAMETERS = {
    "envFrom": "env_from_secrets and env_from_config_maps (env names single keys)",
    "imagePullPolicy": "image_pull_policy",
    "priorityClassName": "priority_class",
    "runtimeClassName": "runtime_class",
    "schedulerName": "scheduler",
}
"""Parameters of the kubernetes block by the field that they become and a TrainJob has not."""


def train_job_request(
    spec: PipelineSpec,
    plan: TrainPlan,
    *,
    asset: str,
    run_dir: Path,
    run_id: str,
    namespace: str,
) -> TrainJobRequest:
    """The TrainJob that carries out a plan.

    Args:
        spec: the effective specification.
        plan: the run; its fingerprint names the job.
        asset: the asset that is made.
        run_dir: the run folder, in the home that all nodes share; with the fingerprint it tells
            one job from another.
        run_id: of the Dagster run that follows the job.
        namespace: where it runs.

    Raises:
        UserError: the kubernetes block asks for what a TrainJob cannot carry.
    """
    config = spec.kubernetes
    refuse_what_a_train_job_loses(config)
    template = pod_template(config, spec.training.hf_token_env)
    pod: dict[str, Any] = dict(template["spec"])
    (container,) = pod.pop("containers")
    labels = {
        **template["metadata"]["labels"],
        **labels_of(spec.name, asset, spec.recipe),
        RUN_LABEL: run_id,
    }
    return TrainJobRequest(
        name=job_name(spec.name, run_dir.name, plan.fingerprint),
        namespace=namespace,
        fingerprint=plan.fingerprint,
        nodes=config.workers,
        procs_per_node=int(plan.parameters.get("nproc_per_node", 1)),
        image=container.get("image"),
        runtime=config.runtime,
        labels=labels,
        annotations=template["metadata"].get("annotations", {}),
        env=tuple(container.get("env", ())),
        resources=container.get("resources", {}),
        pod=pod,
        volume_mounts=tuple(container.get("volumeMounts", ())),
        security_context=container.get("securityContext"),
        shared_folder=str(run_dir),
        suspend=QUEUE_LABEL in labels,
        queue_seconds=config.queue_seconds,
        run_seconds=config.deadline,
    )


def refuse_what_a_train_job_loses(config: KubernetesConfig) -> None:
    """Refuse what a TrainJob cannot carry; asked before a run's first step does anything.

    Raises:
        UserError: the block has such a parameter.
    """
    pod: dict[str, Any] = pod_template(config, "")["spec"]
    (container,) = pod.pop("containers")
    fields = [*(pod.keys() - PATCHABLE), *(container.keys() - _CONTAINER_FIELDS)]
    if fields:
        names = ", ".join(sorted(_PARAMETERS.get(field, field) for field in fields))
        raise UserError(
            f"kubernetes: a TrainJob's pods cannot be given {names}: set it in the training "
            "runtime and leave it out here, or set kubernetes.workers to 1"
        )
