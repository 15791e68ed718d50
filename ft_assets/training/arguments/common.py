"""Parameters that every backend takes, and those of the GPU backends that start torchrun."""

from __future__ import annotations

from typing import Any

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.training.arguments.rules import Only, Rule, Table, To
from resources.errors import UserError

COMMON: Table = {
    "num_epochs": To("num_epochs"),
    "effective_batch_size": To("effective_batch_size"),
    "learning_rate": To("learning_rate"),
    "max_seq_len": To("max_seq_len"),
    "max_tokens_per_gpu": To("max_tokens_per_gpu"),
    "warmup_steps": To("warmup_steps"),
    "checkpoint_at_epoch": To("checkpoint_at_epoch"),
}

_ITS_OWN = "the backend lays rows out by max_tokens_per_gpu: leave it out"
_ALWAYS = "the backend decides that itself: leave it out"

TORCHRUN: dict[str, Rule] = {
    "micro_batch_size": Only((0,), _ITS_OWN),
    "gradient_accumulation_steps": Only((0,), _ITS_OWN),
    "sample_packing": Only((None,), _ITS_OWN),
    "gradient_checkpointing": Only((False,), _ALWAYS),
    "threads": Only((0,), "it is for the cpu backend: set 0"),
    "optimizer": Only(
        ("adamw_torch_fused",), "it has one implementation of AdamW: set adamw_torch_fused"
    ),
    "max_grad_norm": Only((1.0,), "it always cuts gradients at 1.0: set 1.0"),
    "node_rank": To("node_rank", leave_out=(0,)),
    "rdzv_id": To("rdzv_id", leave_out=(None,)),
    "rdzv_endpoint": To("rdzv_endpoint", leave_out=(None,)),
    "master_addr": To("master_addr", leave_out=(None,)),
    "master_port": To("master_port", leave_out=(None,)),
    "wandb_project": To("wandb_project", leave_out=(None,)),
    "wandb_entity": To("wandb_entity", leave_out=(None,)),
    "wandb_run_name": To("wandb_run_name", leave_out=(None,)),
    "mlflow_tracking_uri": To("mlflow_tracking_uri", leave_out=(None,)),
    "mlflow_experiment_name": To("mlflow_experiment_name", leave_out=(None,)),
    "mlflow_run_name": To("mlflow_run_name", leave_out=(None,)),
    "profiler_steps_start": To("profiler_steps_start", leave_out=(0,)),
    "profiler_steps": To("profiler_steps", leave_out=(0,)),
}
"""What instructlab-training and mini-trainer have in common."""


def torchrun_world(kubernetes: KubernetesConfig, backend: str) -> dict[str, Any]:
    """Processes per node and nodes of torchrun.

    Raises:
        UserError: a process would have no GPU of its own.
    """
    gpus = kubernetes.gpus_per_worker
    processes = gpus if kubernetes.procs_per_worker == "auto" else int(kubernetes.procs_per_worker)
    if processes > gpus or gpus < 1:
        raise UserError(
            f"kubernetes.procs_per_worker ({kubernetes.procs_per_worker}) and gpus_per_worker "
            f"({gpus}) do not fit {backend}: it needs a GPU for each process"
        )
    return {"nproc_per_node": processes, "nnodes": kubernetes.workers}
