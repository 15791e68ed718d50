"""A TrainJob with everything that one of ours can have."""

from __future__ import annotations

from typing import Any

from resources.launcher.trainjob.manifest import train_job
from resources.launcher.trainjob.request import TrainJobRequest, job_name

FINGERPRINT = "0123456789abcdef" * 4


def full_request(namespace: str = "ml", **changes: Any) -> TrainJobRequest:
    given: dict[str, Any] = {
        "name": job_name("Support Bot", FINGERPRINT),
        "namespace": namespace,
        "fingerprint": FINGERPRINT,
        "nodes": 4,
        "procs_per_node": 8,
        "image": "registry.example.com/ft/trainer:1.0",
        "labels": {
            "ft-assets/pipeline": "support-bot",
            "ft-assets/asset": "finetuned_model",
            "dagster/run-id": "3a6e2d2a-6f0f-4b4c-9d0a-1f9f0f0f0f0f",
            "kueue.x-k8s.io/queue-name": "gpus",
        },
        "annotations": {"sidecar.istio.io/inject": "false"},
        "env": (
            {"name": "NCCL_DEBUG", "value": "INFO"},
            {
                "name": "HF_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "HF_TOKEN"}},
            },
        ),
        "resources": {
            "requests": {"cpu": "500m", "memory": "64Gi", "nvidia.com/gpu": "8"},
            "limits": {"memory": "64Gi", "nvidia.com/gpu": "8"},
        },
        "pod": {
            "serviceAccountName": "trainer",
            "imagePullSecrets": [{"name": "registry"}],
            "nodeSelector": {"accelerator": "h200"},
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                {
                    "key": "spot",
                    "operator": "Equal",
                    "value": "yes",
                    "effect": "NoExecute",
                    "tolerationSeconds": 60,
                },
            ],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "zone", "operator": "In", "values": ["a"]}
                                ]
                            }
                        ]
                    }
                }
            },
            "securityContext": {"runAsNonRoot": True, "fsGroup": 1000},
            "terminationGracePeriodSeconds": 90,
            "volumes": [
                {"name": "home", "persistentVolumeClaim": {"claimName": "ft-home"}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
            ],
        },
        "volume_mounts": (
            {"name": "home", "mountPath": "/ft"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ),
        "security_context": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
        "suspend": True,
        "runtime": "training-hub",
        "queue_seconds": 3600.0,
        "run_seconds": 7200.0,
    }
    return TrainJobRequest(**{**given, **changes})


def full_manifest(namespace: str = "ml", **changes: Any) -> dict[str, Any]:
    return train_job(
        full_request(namespace, **changes),
        command=["python", "-m", "ft_assets.training.node", "/ft/runs/x/plan.json"],
        env={"DAGSTER_PIPES_MESSAGES": "eJyr", "TQDM_DISABLE": "1"},
        runtime_kind="ClusterTrainingRuntime",
        messages="/ft/runs/x/messages-1.jsonl",
    )
