"""On what is computed, and how the work is laid out there."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from ft_assets.config.block import Block, parameter


class HardwareParameters(Block):
    """Kernels, precision, memory and processes."""

    use_liger: bool = parameter(
        False,
        "Liger's fused kernels (NVIDIA GPUs).",
        seed=("phase_02_train_opt_use_liger", "training_use_liger"),
    )
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = parameter(
        "auto",
        "Implementation of attention (axolotl's attn_implementation); auto takes the backend's.",
        seed=("attn_implementation",),
    )
    sample_packing: bool | None = parameter(
        None,
        "Several rows in one sequence: true refuses an attention that would cross from row to row, "
        "false takes one row at a time, and not set packs where rows stay apart (cpu and peft).",
        seed=("training_sample_packing",),
    )
    gradient_checkpointing: bool = parameter(
        False,
        "Compute activations again in the backward pass instead of keeping them: less memory, "
        "about a third more time (cpu and peft; the GPU backends always do).",
    )
    precision: Literal["auto", "fp32", "bf16"] = parameter(
        "auto",
        "Arithmetic of the cpu and peft backends: bf16 (autocast over fp32 weights), fp32, or "
        "auto: bf16 on a GPU that computes in it and on a processor that is faster in it (AMX, or "
        "AMD's with avx512_bf16), else fp32.",
    )
    threads: int = parameter(
        0, "Threads of the cpu backend; 0 takes the cores that are free.", ge=0, le=1024
    )
    fsdp_sharding_strategy: (
        Literal["FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD", "NO_SHARD"] | None
    ) = parameter(
        None,
        "How FSDP divides the model among GPUs; the backend's own default when not set.",
        seed=("phase_02_train_opt_fsdp_sharding", "training_fsdp_sharding_strategy"),
    )
    node_rank: int = parameter(
        0, "torchrun, for a cluster made by hand: the number of this node.", ge=0
    )
    rdzv_id: str | None = parameter(None, "torchrun: name of the rendezvous.")
    rdzv_endpoint: str | None = parameter(None, "torchrun: HOST:PORT of the rendezvous.")
    master_addr: str | None = parameter(None, "torchrun: host of node 0, without a rendezvous.")
    master_port: int | None = parameter(
        None, "torchrun: port of node 0, without a rendezvous.", ge=1, le=65535
    )

    @model_validator(mode="after")
    def _one_way_to_meet(self) -> Any:
        if self.rdzv_endpoint is not None and self.master_addr is not None:
            raise ValueError("rdzv_endpoint and master_addr exclude each other: keep one")
        return self
