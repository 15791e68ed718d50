"""The rules of Kubernetes' Pod Security Standard `restricted`, as far as a pod's own fields say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def breaches(pod: dict[str, Any]) -> Iterator[str]:
    """What the namespace would refuse of a pod, and root file systems that are not read-only."""
    of_pod = pod.get("securityContext") or {}
    if (of_pod.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "seccompProfile"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for volume in pod.get("volumes") or []:
        if not _VOLUMES & volume.keys():
            yield f"volume {volume['name']}"
    for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
        own = container.get("securityContext") or {}
        name = container["name"]
        if not own.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
            yield f"{name}: runAsNonRoot"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if (own.get("capabilities") or {}).get("drop") != ["ALL"]:
            yield f"{name}: capabilities"
        if not own.get("readOnlyRootFilesystem"):
            yield f"{name}: readOnlyRootFilesystem"
