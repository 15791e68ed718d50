"""A ``kubernetes`` block in which every parameter says something."""

from __future__ import annotations

from typing import Any

from ft_assets.config import PipelineSpec

EVERYTHING: dict[str, Any] = {
    "image": "registry.example:5000/team/train:1.2",
    "image_pull_policy": "IfNotPresent",
    "image_pull_secret": "pull-me",
    "image_pull_secrets": ["pull-me-too"],
    "cpu": "7500m",
    "cpu_limit": "8",
    "memory": "63Gi",
    "memory_limit": "1e11",
    "ephemeral_storage": "100Gi",
    "shared_memory": "16Gi",
    "gpus_per_worker": 4,
    "gpu_resource": "amd.com/gpu",
    "extended_resources": {"rdma/hca": 1},
    "env": {
        "NCCL_IB_HCA": "mlx5_0,mlx5_1",
        "WANDB_API_KEY": {"secretKeyRef": {"name": "wandb", "key": "api-key"}},
        "PROXY": {"configMapKeyRef": {"name": "site", "key": "proxy", "optional": True}},
        "NODE": {"fieldRef": {"fieldPath": "spec.nodeName"}},
    },
    "env_from_secrets": ["object-store"],
    "env_from_config_maps": ["site.settings"],
    "labels": {"team": "nlp", "kueue.x-k8s.io/queue-name": "gpu"},
    "annotations": {"example.com/cost": "research: 1,000 a month"},
    "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
    "tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "spot", "value": "true", "effect": "NoExecute", "tolerationSeconds": 60},
    ],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                ]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app": "noisy"}},
                    },
                }
            ]
        },
    },
    "priority_class": "training",
    "runtime_class": "nvidia",
    "scheduler": "volcano",
    "service_account": "trainer",
    "volumes": [
        {"name": "scratch", "emptyDir": {"sizeLimit": "200Gi"}},
        {"name": "licence", "secret": {"secretName": "licence", "optional": True}},
    ],
    "volume_mounts": [
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "licence", "mountPath": "/etc/licence", "readOnly": True},
    ],
    "pvcs": {"models": "/mnt/models", "team.data": "/mnt/data"},
    "run_as_user": 1000,
    "run_as_group": 1000,
    "fs_group": 2000,
    "add_capabilities": ["IPC_LOCK"],
    "deadline": 100_000,
    "queue_timeout": 600,
    "ttl": 7200,
    "termination_grace": 120,
    "hf_token_secret": "hub-token",
}


def spec_with(kubernetes: dict[str, Any], **training: Any) -> PipelineSpec:
    """A pipeline with this block."""
    return PipelineSpec.model_validate(
        {
            "name": "mine",
            "dataset": {"uri": "/data/rows.jsonl"},
            "training": training,
            "kubernetes": kubernetes,
        }
    )
