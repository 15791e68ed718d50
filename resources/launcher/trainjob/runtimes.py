"""The training runtime that a job refers to: it must be there before the job is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from resources.errors import UserError
from resources.launcher.trainjob.api import Api, NotThereError
from resources.launcher.trainjob.manifest import GROUP, NODE, VERSION
from resources.launcher.trainjob.request import TrainJobRequest


def find_runtime(api: Api, request: TrainJobRequest) -> str:
    """The kind of the runtime; the namespace's own comes before the cluster's, as in the SDK.

    Raises:
        UserError: there is none of the name, Kubeflow Trainer is not installed, or its pods would
            not see the folder that the step shares with them.
    """
    group = f"/apis/{GROUP}/{VERSION}"
    places = {
        "TrainingRuntime": f"{group}/namespaces/{request.namespace}/trainingruntimes",
        "ClusterTrainingRuntime": f"{group}/clustertrainingruntimes",
    }
    there: list[str] = []
    for kind, path in places.items():
        try:
            found = api.call("GET", path)["items"]
        except NotThereError as error:
            raise UserError(
                f"the cluster knows no {kind}: training on several workers (kubernetes.workers is "
                f"{request.nodes}) needs Kubeflow Trainer; install it, or train on one worker"
            ) from error
        for runtime in found:
            if runtime["metadata"]["name"] == request.runtime:
                _refuse_without_shared_folder(request, runtime)
                return kind
        there += [f"{runtime['metadata']['name']} ({kind})" for runtime in found]
    raise UserError(
        f"there is no training runtime {request.runtime!r} in namespace {request.namespace} nor in "
        f"the cluster: create it, or name one that is there: {', '.join(there) or 'none is'}"
    )


def _refuse_without_shared_folder(request: TrainJobRequest, runtime: Mapping[str, Any]) -> None:
    if request.shared_folder is None:
        return
    mounts = [*request.volume_mounts, *_mounts_of_node(runtime)]
    folder = PurePosixPath(request.shared_folder)
    if not any(folder.is_relative_to(str(mount["mountPath"])) for mount in mounts):
        raise UserError(
            f"the {request.nodes} training nodes would not see {folder}, where the step and they "
            "share plan, base model and checkpoints: mount a ReadWriteMany volume claim at FT_HOME "
            "with the volumes of the kubernetes block, or in the training runtime "
            f"{request.runtime}"
        )


def _mounts_of_node(runtime: Mapping[str, Any]) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = []
    for job in runtime["spec"]["template"]["spec"].get("replicatedJobs", []):
        pod = job["template"]["spec"]["template"].get("spec", {})
        for container in pod.get("containers", []):
            if NODE in (job["name"], container["name"]):
                mounts += container.get("volumeMounts", [])
    return mounts
