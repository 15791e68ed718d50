"""Kubernetes' own structures that a user hands through: which fields they have, of which types.

Source: Kubernetes' OpenAPI document (core/v1); a test compares the tables with the client's models.
A table is read so: ``{"field": type}`` is an object, a name with ``!`` must be there, ``[type]`` is
a list, a tuple names the values that there are, ``{"*": type}`` has keys of the user's own.
"""

from __future__ import annotations

from typing import Any

Shape = Any
"""A table as described above, or ``str``, ``int``, ``bool`` or ``object`` (anything)."""

MAP: Shape = {"*": str}
_SECRET: Shape = {"name": str}
_EXPRESSION: Shape = {
    "key!": str,
    "operator!": ("In", "NotIn", "Exists", "DoesNotExist"),
    "values": [str],
}
_NODE_EXPRESSION: Shape = {
    "key!": str,
    "operator!": ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    "values": [str],
}
_SELECTOR: Shape = {"matchExpressions": [_EXPRESSION], "matchLabels": MAP}
_NODE_TERM: Shape = {"matchExpressions": [_NODE_EXPRESSION], "matchFields": [_NODE_EXPRESSION]}
_POD_TERM: Shape = {
    "labelSelector": _SELECTOR,
    "matchLabelKeys": [str],
    "mismatchLabelKeys": [str],
    "namespaceSelector": _SELECTOR,
    "namespaces": [str],
    "topologyKey!": str,
}
_POD_AFFINITY: Shape = {
    "preferredDuringSchedulingIgnoredDuringExecution": [
        {"podAffinityTerm!": _POD_TERM, "weight!": int}
    ],
    "requiredDuringSchedulingIgnoredDuringExecution": [_POD_TERM],
}
_ITEMS: Shape = [{"key!": str, "mode": int, "path!": str}]
_FIELD: Shape = {"apiVersion": str, "fieldPath!": str}
_RESOURCE_FIELD: Shape = {"containerName": str, "divisor": str, "resource!": str}
_DOWNWARD_FILES: Shape = [
    {"fieldRef": _FIELD, "mode": int, "path!": str, "resourceFieldRef": _RESOURCE_FIELD}
]
_KEY_OF: Shape = {"key!": str, "name!": str, "optional": bool}
_DISK: Shape = {"fsType": str, "readOnly": bool, "volumeID!": str}

TOLERATION: Shape = {
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    "key": str,
    "operator": ("Exists", "Equal"),
    "tolerationSeconds": int,
    "value": str,
}
AFFINITY: Shape = {
    "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"preference!": _NODE_TERM, "weight!": int}
        ],
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms!": [_NODE_TERM]},
    },
    "podAffinity": _POD_AFFINITY,
    "podAntiAffinity": _POD_AFFINITY,
}
ENV_SOURCE: Shape = {
    "configMapKeyRef": _KEY_OF,
    "fieldRef": _FIELD,
    "resourceFieldRef": _RESOURCE_FIELD,
    "secretKeyRef": _KEY_OF,
}
VOLUME_MOUNT: Shape = {
    "mountPath!": str,
    "mountPropagation": ("None", "HostToContainer", "Bidirectional"),
    "name!": str,
    "readOnly": bool,
    "recursiveReadOnly": ("Disabled", "IfPossible", "Enabled"),
    "subPath": str,
    "subPathExpr": str,
}
_CLAIM_TEMPLATE: Shape = {
    "metadata": {"annotations": MAP, "labels": MAP},
    "spec!": {
        "accessModes": [("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")],
        "dataSource": {"apiGroup": str, "kind!": str, "name!": str},
        "dataSourceRef": {"apiGroup": str, "kind!": str, "name!": str, "namespace": str},
        "resources": {"limits": MAP, "requests": MAP},
        "selector": _SELECTOR,
        "storageClassName": str,
        "volumeAttributesClassName": str,
        "volumeMode": ("Filesystem", "Block"),
        "volumeName": str,
    },
}
_PROJECTION: Shape = {
    "clusterTrustBundle": {
        "labelSelector": _SELECTOR,
        "name": str,
        "optional": bool,
        "path!": str,
        "signerName": str,
    },
    "configMap": {"items": _ITEMS, "name": str, "optional": bool},
    "downwardAPI": {"items": _DOWNWARD_FILES},
    "secret": {"items": _ITEMS, "name": str, "optional": bool},
    "serviceAccountToken": {"audience": str, "expirationSeconds": int, "path!": str},
}
VOLUME_SOURCES: dict[str, Shape] = {
    "awsElasticBlockStore": {**_DISK, "partition": int},
    "azureDisk": {
        "cachingMode": str,
        "diskName!": str,
        "diskURI!": str,
        "fsType": str,
        "kind": str,
        "readOnly": bool,
    },
    "azureFile": {"readOnly": bool, "secretName!": str, "shareName!": str},
    "cinder": {**_DISK, "secretRef": _SECRET},
    "configMap": {"defaultMode": int, "items": _ITEMS, "name": str, "optional": bool},
    "csi": {
        "driver!": str,
        "fsType": str,
        "nodePublishSecretRef": _SECRET,
        "readOnly": bool,
        "volumeAttributes": MAP,
    },
    "downwardAPI": {"defaultMode": int, "items": _DOWNWARD_FILES},
    "emptyDir": {
        "medium": ("", "Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi"),
        "sizeLimit": str,
    },
    "ephemeral": {"volumeClaimTemplate!": _CLAIM_TEMPLATE},
    "fc": {"fsType": str, "lun": int, "readOnly": bool, "targetWWNs": [str], "wwids": [str]},
    "flexVolume": {
        "driver!": str,
        "fsType": str,
        "options": MAP,
        "readOnly": bool,
        "secretRef": _SECRET,
    },
    "gcePersistentDisk": {"fsType": str, "partition": int, "pdName!": str, "readOnly": bool},
    "hostPath": {"path!": str, "type": str},
    "image": {"pullPolicy": ("Always", "IfNotPresent", "Never"), "reference": str},
    "iscsi": {
        "chapAuthDiscovery": bool,
        "chapAuthSession": bool,
        "fsType": str,
        "initiatorName": str,
        "iqn!": str,
        "iscsiInterface": str,
        "lun!": int,
        "portals": [str],
        "readOnly": bool,
        "secretRef": _SECRET,
        "targetPortal!": str,
    },
    "nfs": {"path!": str, "readOnly": bool, "server!": str},
    "persistentVolumeClaim": {"claimName!": str, "readOnly": bool},
    "portworxVolume": _DISK,
    "projected": {"defaultMode": int, "sources": [_PROJECTION]},
    "secret": {"defaultMode": int, "items": _ITEMS, "optional": bool, "secretName": str},
    "vsphereVolume": {
        "fsType": str,
        "storagePolicyID": str,
        "storagePolicyName": str,
        "volumePath!": str,
    },
}
"""Those that Kubernetes 1.28 and newer can still mount."""

VOLUME: Shape = {"name!": str, **VOLUME_SOURCES}
