"""The manifest of a KServe InferenceService that serves a model from where it is kept."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.export.subject import Subject

MANIFEST_FILE = "inferenceservice.yaml"
_SERVED_FROM = ("s3://", "gs://", "pvc://", "hf://", "oci://", "https://", "hdfs://", "webhdfs://")
_NAME_LENGTH = 40  # what Knative and the routes put behind it must fit 63 characters
_GIB = 1 << 30


def storage_uri(subject: Subject, given: str | None) -> str:
    """Where the serving pod takes the model from.

    Args:
        subject: what is served.
        given: a place that the user names, which wins: a volume claim for a store on a volume.

    Raises:
        UserError: the place means something on this machine alone, or KServe reads none such.
    """
    uri = given or subject.uri
    if uri.startswith(_SERVED_FROM):
        return uri
    if given:
        raise UserError(
            f"--storage-uri {given}: KServe reads {', '.join(_SERVED_FROM)}: name one of these"
        )
    raise UserError(
        f"--kserve: {subject.label} lies in a folder of this machine ({uri}), which no pod can "
        "read: publish to an s3:// store (FT_STORE), or copy the exported folder to a volume and "
        "name it with --storage-uri pvc://CLAIM/PATH"
    )


def inference_service(subject: Subject, uri: str) -> dict[str, Any]:
    """The manifest, as values.

    The memory asked for is twice the weights and 2 GiB: a first guess for a runtime with a cache.

    Args:
        subject: what is served.
        uri: as :func:`storage_uri` gives it.
    """
    plan: Any = subject.model.manifest.metadata["plan"]
    weights = sum(
        file.size for file in subject.model.manifest.files if file.path.endswith(".safetensors")
    )
    memory = f"{math.ceil(2 * weights / _GIB) + 2}Gi"
    gpu = {} if plan["backend"] == "cpu" else {"nvidia.com/gpu": "1"}
    resources = {"cpu": "2", "memory": memory, **gpu}
    annotations = {
        "ft-assets/model": subject.name,
        "ft-assets/model-digest": subject.model.data_version,
        **({"ft-assets/version": subject.version} if subject.version else {}),
    }
    name = service_name(subject.name)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "huggingface"},
                    "args": [f"--model_name={name}"],
                    "storageUri": uri,
                    "resources": {"requests": dict(resources), "limits": dict(resources)},
                }
            }
        },
    }


def service_name(model: str) -> str:
    """A model's name as KServe takes it: lower case, digits and hyphens, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    name = name if name[:1].isalpha() else f"model-{name}"
    return name[:_NAME_LENGTH].strip("-")
