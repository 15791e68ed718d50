"""The shipped GPU pipelines have the defaults of Kubeflow's, parameter by parameter."""

from __future__ import annotations

from typing import Any

import pytest

from ft_assets.config.load import load_pipeline
from resources.home import CHECKOUT

BOTH: dict[str, Any] = {
    "dataset.split": 0.9,
    "dataset.subset": 0,
    "training.base_model": "Qwen/Qwen2.5-1.5B-Instruct",
    "training.effective_batch_size": 128,
    "training.max_seq_len": 8192,
    "training.learning_rate": 5e-06,
    "training.num_epochs": 1,
    "training.warmup_steps": 0,
    "training.lr_scheduler": "cosine",
    "training.seed": 42,
    "kubernetes.gpus_per_worker": 1,
    "kubernetes.procs_per_worker": "auto",
    "kubernetes.labels": {},
    "kubernetes.annotations": {},
    "kubernetes.image_pull_secret": None,
    "evaluation.tasks": ["arc_easy"],
    "evaluation.batch": "auto",
    "evaluation.gen_kwargs": {},
    "evaluation.limit": -1,
    "evaluation.log_samples": True,
    "evaluation.model_args": {},
    "evaluation.verbosity": "INFO",
    "registry.address": "",
    "registry.author": "pipeline",
    "registry.base_version": "1.0.0",
    "registry.description": "",
    "registry.format_name": "pytorch",
    "registry.format_version": "1.0",
}
SFT: dict[str, Any] = {
    "training.algorithm": "sft",
    "training.max_tokens_per_gpu": 10_000,
    "training.use_liger": False,
    "training.checkpoint_at_epoch": True,
    "training.save_samples": 0,
    "training.save_full_state": False,
    "training.fsdp_sharding_strategy": "FULL_SHARD",
    "training.env": {
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "NCCL_DEBUG": "INFO",
        "INSTRUCTLAB_NCCL_TIMEOUT_MS": "600000",
    },
    "kubernetes.workers": 4,
    "kubernetes.cpu": "4",
    "kubernetes.memory": "64Gi",
    "registry.name": "sft-model",
}
OSFT: dict[str, Any] = {
    "training.algorithm": "osft",
    "training.max_tokens_per_gpu": 64_000,
    "training.unfreeze_rank_ratio": 0.25,
    "training.target_patterns": [],
    "training.lr_scheduler_kwargs": {},
    "training.use_liger": True,
    "training.checkpoint_at_epoch": False,
    "training.save_final_checkpoint": True,
    "training.use_processed_dataset": False,
    "training.unmask_messages": False,
    "training.env": {},
    "kubernetes.workers": 1,
    "kubernetes.cpu": "8",
    "kubernetes.memory": "32Gi",
    "registry.name": "osft-model",
}
LORA: dict[str, Any] = {
    "training.algorithm": "lora_sft",
    "training.base_model": "Qwen/Qwen2.5-1.5B-Instruct",
    "training.effective_batch_size": 128,
    "training.max_tokens_per_gpu": 64_000,
    "training.max_seq_len": 8192,
    "kubernetes.workers": 1,
    "kubernetes.gpus_per_worker": 1,
    "kubernetes.procs_per_worker": "auto",
    "kubernetes.cpu": "8",
    "kubernetes.memory": "32Gi",
}


@pytest.mark.parametrize(
    ("name", "defaults"),
    [("sft", {**BOTH, **SFT}), ("osft", {**BOTH, **OSFT}), ("lora", LORA)],
)
def test_every_default_is_that_of_kubeflows_own(name: str, defaults: dict[str, Any]) -> None:
    spec = load_pipeline(CHECKOUT / "ft_assets" / "pipelines" / f"{name}.yaml").spec
    found = {
        path: getattr(getattr(spec, block), parameter)
        for path in defaults
        for block, _, parameter in [path.partition(".")]
    }
    assert found == defaults


@pytest.mark.parametrize("name", ["sft", "osft", "lora"])
def test_a_version_is_counted_on_because_one_number_holds_one_model(name: str) -> None:
    """The one default that differs: Kubeflow's 1.0.0 could be registered once."""
    spec = load_pipeline(CHECKOUT / "ft_assets" / "pipelines" / f"{name}.yaml").spec
    assert spec.registry.version == "auto"
