"""The pod of one node of a TrainJob, as Kubeflow Trainer and JobSet make it of job and runtime.

Belongs here: which part of the pod comes from where. When pods are made and go:
train_job_controller.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"

_KEYS = {
    "containers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""Kubernetes' own keys: lists of these names are merged element by element, others replaced."""


def node_pod(
    job: Mapping[str, Any], runtime: Mapping[str, Any], index: int, place: Mapping[str, Any]
) -> dict[str, Any]:
    """The runtime's pod with the job's patches laid over it, and what the job says of its trainer.

    Args:
        job: the TrainJob.
        runtime: what it refers to.
        index: of the node, from 0.
        place: what the node's environment says of its place among the others.
    """
    name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
    template = _template(runtime["spec"])
    for patch in job["spec"].get("runtimePatches", []):
        template = merged(template, _template(patch["trainingRuntimeSpec"]))
    spec = template["spec"]
    (container,) = spec["containers"]
    container |= {key: trainer[key] for key in ("image", "command") if key in trainer}
    container["resources"] = trainer.get("resourcesPerNode", {})
    places = [{"name": key, "value": str(value)} for key, value in place.items()]
    added = {"env": [*trainer.get("env", []), *places]}
    labels = template.get("metadata", {}).get("labels", {})
    return {
        "metadata": {
            "name": f"{name}-node-0-{index}-{secrets.token_hex(3)}",
            "labels": {
                **labels,
                "jobset.sigs.k8s.io/jobset-name": name,
                "jobset.sigs.k8s.io/replicatedjob-name": "node",
                "batch.kubernetes.io/job-completion-index": str(index),
                "trainer.kubeflow.org/trainjob-ancestor-step": "trainer",
            },
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": "TrainJob",
                    "name": name,
                    "uid": job["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {**spec, "containers": [merged(container, added)]},
    }


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One part of a pod laid over another one, as Kubernetes' strategic merge does it."""
    made = dict(below)
    for name, value in above.items():
        if isinstance(value, Mapping) and isinstance(made.get(name), Mapping):
            made[name] = merged(made[name], value)
        elif name in _KEYS and name in made:
            key = _KEYS[name]
            entries = {entry[key]: entry for entry in made[name]}
            for entry in value:
                entries[entry[key]] = merged(entries.get(entry[key], {}), entry)
            made[name] = list(entries.values())
        else:
            made[name] = value
    return made


def _template(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The pod in a runtime's specification, or in a patch of one."""
    (node,) = spec["template"]["spec"]["replicatedJobs"]
    return node["template"]["spec"]["template"]
