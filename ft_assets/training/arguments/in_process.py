"""Our own backends: ``cpu`` for all algorithms, ``peft`` for LoRA on one GPU.

On the CPU several processes may train one model, on one node or several; a GPU has one.
"""

from __future__ import annotations

import math
from typing import Any

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.training import TrainingConfig
from ft_assets.training.arguments.common import COMMON
from ft_assets.training.arguments.rules import (
    OF_LORA,
    OF_OSFT,
    PLATFORM,
    Only,
    Rule,
    Table,
    To,
    apply,
    not_of,
    with_extra,
)
from resources.errors import UserError

_ONE = "one process trains: leave it out"
_QUANTIZED = "quantized weights need an NVIDIA GPU: set false, or train on one with backend peft"
_EIGHT_BIT = "8-bit optimizers need bitsandbytes and an NVIDIA GPU: set adamw_torch_fused"
_TORCHRUN = ("node_rank", "rdzv_id", "rdzv_endpoint", "master_addr", "master_port")

_OF_OSFT: dict[str, Rule] = {
    "unfreeze_rank_ratio": To("unfreeze_rank_ratio"),
    "target_patterns": To("target_patterns", leave_out=([],)),
}
_OF_LORA: dict[str, Rule] = {
    "lora_r": To("lora_r"),
    "lora_alpha": To("lora_alpha"),
    "lora_dropout": To("lora_dropout"),
    "lora_target_modules": To("target_modules", leave_out=([],)),
    "use_rslora": To("use_rslora"),
    "use_dora": To("use_dora"),
    "load_in_4bit": To("load_in_4bit"),
    "load_in_8bit": To("load_in_8bit"),
}

_SHARED: Table = {
    **PLATFORM,
    **COMMON,
    **{
        name: Only((TrainingConfig.model_fields[name].default,), _ONE)
        for name in (*_TORCHRUN, "fsdp_sharding_strategy")
    },
    "use_liger": Only((False,), "Liger's kernels run on GPUs, in the GPU backends: set false"),
    "osft_memory_efficient_init": Only(
        (False,), "mini-trainer 0.9 has no such parameter: leave it out"
    ),
    "micro_batch_size": To("micro_batch_size", leave_out=(0,)),
    "gradient_accumulation_steps": To("gradient_accumulation_steps", leave_out=(0,)),
    "sample_packing": To("sample_packing", leave_out=(None,)),
    "gradient_checkpointing": To("gradient_checkpointing"),
    "seed": To("seed"),
    "lr_scheduler": To("lr_scheduler"),
    "lr_scheduler_kwargs": To("lr_scheduler_kwargs", leave_out=({},)),
    "optimizer": To("optimizer"),
    "beta1": To("beta1"),
    "beta2": To("beta2"),
    "eps": To("eps"),
    "weight_decay": To("weight_decay"),
    "max_grad_norm": To("max_grad_norm"),
    "save_samples": To("save_samples"),
    "save_full_state": To("save_full_state"),
    "save_final_checkpoint": Only((True,), "the model at the end is always written: set true"),
    "validation_steps": To("validation_steps", leave_out=(0,)),
    "validation_rows": To("validation_rows"),
    "precision": To("precision"),
    "threads": To("threads"),
    "attention": To("attention"),
    "tensorboard": To("tensorboard", leave_out=(False,)),
    "wandb_project": To("wandb_project", leave_out=(None,)),
    "wandb_entity": To("wandb_entity", leave_out=(None,)),
    "wandb_run_name": To("wandb_run_name", leave_out=(None,)),
    "mlflow_tracking_uri": To("mlflow_tracking_uri", leave_out=(None,)),
    "mlflow_experiment_name": To("mlflow_experiment_name", leave_out=(None,)),
    "mlflow_run_name": To("mlflow_run_name", leave_out=(None,)),
    "profiler_steps_start": To("profiler_steps_start", leave_out=(0,)),
    "profiler_steps": To("profiler_steps", leave_out=(0,)),
}

_NODES: Table = {name: To(name, leave_out=(0, None)) for name in _TORCHRUN}

_ON_CPU: dict[str, Rule] = {
    "optimizer": To("optimizer", allowed=("adamw_torch_fused",), why=_EIGHT_BIT),
    "load_in_4bit": To("load_in_4bit", allowed=(False,), why=_QUANTIZED),
    "load_in_8bit": To("load_in_8bit", allowed=(False,), why=_QUANTIZED),
    "attention": To(
        "attention",
        allowed=("auto", "sdpa", "eager"),
        why="FlashAttention needs an NVIDIA GPU: set auto",
    ),
}

EXTRA_LORA = frozenset(
    {
        "alpha_pattern",
        "bnb_4bit_compute_dtype",
        "bnb_4bit_quant_type",
        "bnb_4bit_use_double_quant",
        "init_lora_weights",
        "rank_pattern",
    }
)
"""Arguments of peft's LoraConfig and of bitsandbytes that training_hub's lora_sft knows."""


def table(algorithm: str, backend: str, *, world: bool = False) -> Table:
    """The rules of one algorithm; ``world`` says whether several processes train."""
    osft = _OF_OSFT if algorithm == "osft" else not_of("osft", OF_OSFT)
    lora = _OF_LORA if algorithm == "lora_sft" else not_of("lora_sft", OF_LORA)
    on_cpu = _ON_CPU if backend == "cpu" else {}
    if algorithm != "lora_sft":
        on_cpu = {name: rule for name, rule in on_cpu.items() if name not in OF_LORA}
    threads: dict[str, Rule] = {}
    if backend != "cpu":
        threads["threads"] = To("threads", allowed=(0,), why="it is for the cpu backend: set 0")
    nodes: Table = _NODES if world else {}
    return {**_SHARED, **osft, **lora, **on_cpu, **threads, **nodes}


def arguments(config: TrainingConfig, kubernetes: KubernetesConfig, backend: str) -> dict[str, Any]:
    """What training_hub's function receives beside the paths.

    Raises:
        UserError: a parameter cannot be honoured, or the parts of a batch do not fit together.
    """
    if backend == "peft":
        for name in ("gpus_per_worker", "workers"):
            count = getattr(kubernetes, name)
            if count > 1:
                raise UserError(
                    f"kubernetes.{name}: {count}: the peft backend trains on one GPU: set 1"
                )
    world = _world(kubernetes) if backend == "cpu" else {}
    processes = math.prod(world.values())
    given = apply(table(config.algorithm, backend, world=bool(world)), config, backend)
    _parts_agree(config, processes)
    micro, accumulation = config.micro_batch_size, config.gradient_accumulation_steps
    given.pop("gradient_accumulation_steps", None)
    if accumulation and not micro:
        given["micro_batch_size"] = config.effective_batch_size // (accumulation * processes)
    given.update(world)
    extra = EXTRA_LORA if config.algorithm == "lora_sft" else frozenset[str]()
    return with_extra(given, config, backend, extra)


def _world(kubernetes: KubernetesConfig) -> dict[str, int]:
    """Processes per node and nodes, where several processes train on the CPU; else nothing.

    A pipeline made for GPUs, tried out where there are none, trains in one process per node.
    """
    asked = kubernetes.procs_per_worker
    on_cpu = kubernetes.gpus_per_worker == 0 and asked != "auto"
    per_node = int(asked) if on_cpu else 1
    if per_node * kubernetes.workers == 1:
        return {}
    return {"nproc_per_node": per_node, "nnodes": kubernetes.workers}


def _parts_agree(config: TrainingConfig, processes: int) -> None:
    """effective batch = micro batch x accumulation x processes; one where a GPU trains."""
    batch = config.effective_batch_size
    micro, accumulation = config.micro_batch_size, config.gradient_accumulation_steps
    if batch % processes:
        lower = batch - batch % processes
        fitting = f"{lower} or {lower + processes}" if lower else str(processes)
        raise UserError(
            f"training.effective_batch_size ({batch}) is not divided by the {processes} training "
            f"processes (kubernetes.workers x procs_per_worker): set {fitting}"
        )
    product = micro * accumulation * processes
    if product and product != batch:
        of_all = f" x {processes} training processes" if processes > 1 else ""
        raise UserError(
            f"training.micro_batch_size ({micro}) x gradient_accumulation_steps ({accumulation})"
            f"{of_all} is {product} and effective_batch_size is {batch}: set the last to "
            f"{product}, or leave one of the first two out"
        )
    for name, parts in (
        ("micro_batch_size", micro),
        ("gradient_accumulation_steps", accumulation),
    ):
        share = batch // processes
        if parts and share % parts:
            of_all = "" if processes == 1 else f", of which each process has {share} rows"
            raise UserError(
                f"training.{name} ({parts}) does not divide effective_batch_size ({batch})"
                f"{of_all}: choose one that does"
            )
