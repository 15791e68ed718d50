"""A request as a TrainJob (trainer.kubeflow.org/v1alpha1), built with the Kubeflow SDK's own types.

The trainer's fields carry image, command, nodes, processes, environment and resources; everything
else about the pods goes through one entry of ``runtimePatches``, the only way that the API offers.
"""

from __future__ import annotations

# pyright: reportMissingTypeStubs=false
from collections.abc import Mapping, Sequence
from typing import Any, cast

from resources.errors import UserError
from resources.launcher.trainjob.request import TrainJobRequest

GROUP = "trainer.kubeflow.org"
VERSION = "v1alpha1"
KIND = "TrainJob"
NODE = "node"
"""Name of the replicated job of the training nodes and of its container, fixed by the trainer."""

MESSAGES_ANNOTATION = "ft-assets/messages"
"""Annotation of a TrainJob: the file to which its node 0 reports."""
_KUEUE = "kueue.x-k8s.io/"
MANAGER = "ft-assets/launcher"
"""Whose entry of ``runtimePatches`` it is; each manager has one."""

PATCHABLE = frozenset(
    {
        "affinity",
        "imagePullSecrets",
        "nodeSelector",
        "schedulingGates",
        "securityContext",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "tolerations",
        "volumes",
    }
)
"""The fields of a PodSpec that a runtime patch may set (containers apart)."""


def train_job(
    request: TrainJobRequest,
    *,
    command: Sequence[str],
    env: Mapping[str, str],
    runtime_kind: str,
    messages: str,
) -> dict[str, Any]:
    """The TrainJob's manifest.

    Args:
        request: what is asked for.
        command: of every node.
        env: further variables of every node (those of Dagster Pipes).
        runtime_kind: ClusterTrainingRuntime or TrainingRuntime.
        messages: the file to which node 0 reports.

    Raises:
        UserError: the request has a pod field that a TrainJob cannot carry.
    """
    from kubeflow_trainer_api import models

    trainer = models.TrainerV1alpha1Trainer(
        image=request.image,
        command=list(command),
        numNodes=request.nodes,
        numProcPerNode=request.procs_per_node,
        env=[_whole(models.IoK8sApiCoreV1EnvVar, entry) for entry in _env(request, env)],
        resourcesPerNode=_whole(models.IoK8sApiCoreV1ResourceRequirements, request.resources),
    )
    job = models.TrainerV1alpha1TrainJob(
        apiVersion=f"{GROUP}/{VERSION}",
        kind=KIND,
        metadata=models.IoK8sApimachineryPkgApisMetaV1ObjectMeta(
            name=request.name,
            namespace=request.namespace,
            labels=request.all_labels,
            annotations={MESSAGES_ANNOTATION: messages},
        ),
        spec=models.TrainerV1alpha1TrainJobSpec(
            runtimeRef=models.TrainerV1alpha1RuntimeRef(
                apiGroup=GROUP, kind=runtime_kind, name=request.runtime
            ),
            trainer=trainer,
            runtimePatches=[_whole(models.TrainerV1alpha1RuntimePatch, _patch(request))],
            suspend=request.suspend,
            # The backstop for when no step watches: it counts waiting for nodes as well.
            activeDeadlineSeconds=int(request.queue_seconds + request.run_seconds),
        ),
    )
    manifest: dict[str, Any] = job.to_dict()
    return manifest


def _env(request: TrainJobRequest, further: Mapping[str, str]) -> list[dict[str, Any]]:
    """One entry of each name, as the API demands; ours come last."""
    entries = [*request.env, *({"name": name, "value": value} for name, value in further.items())]
    return list({entry["name"]: dict(entry) for entry in entries}.values())


def _whole(kind: Any, value: Mapping[str, Any]) -> Any:
    """A value as the SDK's type, which drops what it does not know: that is refused instead."""
    model = kind.from_dict(dict(value))
    if lost := _lost(value, model.to_dict()):
        raise UserError(
            f"a TrainJob knows no field {lost}: correct its spelling, or set it in the training "
            "runtime"
        )
    return model


def _lost(given: Any, kept: Any, path: str = "") -> str | None:
    """The path of the first field that is not kept as it was given."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        parts = cast("Mapping[str, Any]", given).items()
        others = cast("Mapping[str, Any]", kept)
        found = (_lost(value, others.get(name), f"{path}.{name}") for name, value in parts)
    elif isinstance(given, list) and isinstance(kept, list):
        pairs = zip(cast("list[Any]", given), cast("list[Any]", kept), strict=True)
        found = (_lost(value, other, f"{path}[{n}]") for n, (value, other) in enumerate(pairs))
    else:
        return None if given == kept else path.removeprefix(".")
    return next((lost for lost in found if lost is not None), None)


def _patch(request: TrainJobRequest) -> dict[str, Any]:
    if refused := sorted(set(request.pod) - PATCHABLE):
        raise UserError(
            f"a TrainJob cannot set {', '.join(refused)} of its pods (kubernetes.workers is "
            f"{request.nodes}): leave it out and set it in the training runtime {request.runtime}, "
            "or train on one worker"
        )
    container: dict[str, Any] = {"name": NODE}
    if request.volume_mounts:
        container["volumeMounts"] = [dict(mount) for mount in request.volume_mounts]
    if request.security_context is not None:
        container["securityContext"] = dict(request.security_context)
    spec = dict(request.pod)
    if len(container) > 1:
        spec["containers"] = [container]
    # Kueue admits the job as a whole; a pod with its label would be queued once more by itself.
    labels = {k: v for k, v in request.all_labels.items() if not k.startswith(_KUEUE)}
    metadata: dict[str, Any] = {"labels": labels}
    if request.annotations:
        metadata["annotations"] = dict(request.annotations)
    template: dict[str, Any] = {"metadata": metadata}
    if spec:
        template["spec"] = spec
    node = {"name": NODE, "template": {"spec": {"template": template}}}
    return {
        "manager": MANAGER,
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [node]}}},
    }
