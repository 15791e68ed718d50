"""PersistentVolumeClaims that are bound at once: the scheduler refuses pods with an unbound one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.cluster.programs import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.node_agent import NodeAgent

_ACCESS = ["ReadWriteMany"]
_SIZE = "500Gi"


def provide_claim(agent: NodeAgent, namespace: str, name: str) -> Path:
    """A claim for many pods on many nodes, with a volume; gives the directory behind it."""
    folder = agent.claim_folder(namespace, name)
    volume = f"{namespace}-{name}"
    agent.core.create_persistent_volume(
        {
            "metadata": {"name": volume},
            "spec": {
                "capacity": {"storage": _SIZE},
                "accessModes": _ACCESS,
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": namespace, "name": name},
                "hostPath": {"path": str(folder)},
            },
        }
    )
    agent.core.create_namespaced_persistent_volume_claim(
        namespace,
        {
            "metadata": {"name": name},
            "spec": {
                "accessModes": _ACCESS,
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": {"storage": _SIZE}},
            },
        },
    )
    wait_until(
        lambda: (
            agent.core.read_namespaced_persistent_volume_claim(name, namespace).status.phase
            == "Bound"
        ),
        f"the volume of claim {name}",
    )
    return folder
