"""Peak memory of one GPU (or of the training process on the CPU), by part.

Every part is taken at its largest, so that the sum is an upper estimate: gradients are complete
only when activations are gone. What CUDA's allocator wastes is not in it.
"""

from __future__ import annotations

from typing import NamedTuple

from ft_assets.config import TrainingConfig
from ft_assets.training.estimate.architecture import Architecture
from ft_assets.training.estimate.attention import by_row_in_bf16, fused, working_by_row_in_bf16
from ft_assets.training.estimate.rows import Part
from ft_assets.training.estimate.trained import Trained
from ft_assets.training.estimate.world import GIB, World
from resources.record import Record

_FP32, _BF16 = 4, 2
_ADAM_BYTES = 8
"""Two fp32 moments per trainable parameter."""
_ADAM_8BIT_BYTES = 2.04
"""Two 8-bit moments, and one fp32 scale per block of 256 for each."""
_NF4_BYTES = 0.516
"""4 bits and doubly quantized scales (blocks of 64 and 256): 4.127 bits."""
_INT8_BYTES = 1.0
_GPU_LOGIT_BYTES = 16
"""Per token and word: logits, their log-softmax, and the gradient of either, in fp32."""
_OWN_LOGIT_BYTES = 12
"""The same in our engine, which lets go of the logits before the backward pass."""
_CPU_LOGIT_BYTES = 8
"""On the CPU: the probabilities, and beside them logits or their gradient, in fp32."""
_CUDA_BYTES = 0.8 * GIB
"""CUDA context, cuBLAS workspaces and the kernels that are loaded."""
_NCCL_BYTES = 0.5 * GIB
_PROCESS_BYTES = 0.6 * GIB
"""Python with torch, transformers and training_hub: what the process has before the model."""
_CPU_BF16_BYTES = 0.25 * GIB
"""Kernels for bf16 that are made on the CPU while it trains: between the peaks of
bench/plan_vs_actual.py's tiny models in bf16 and in fp32."""
_HEAP_WASTE = 0.4
"""On the CPU, of the activations: holes that the C library's allocator leaves and does not give
back. Measured on SmolLM2-135M: 0.35 to 0.45."""


class Memory(Record):
    """Bytes of one GPU, or of the process that trains on the CPU."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    buffers: int
    """Copies of weights, and what framework and allocator take for themselves."""

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(self.model_dump().values())


class _Widths(NamedTuple):
    """Bytes of one element."""

    stream: int
    """Of the hidden state that runs from layer to layer."""
    product: int
    """Of what matrices give."""


def memory(
    model: Architecture, config: TrainingConfig, world: World, trained: Trained, part: Part
) -> Memory:
    """The peak of one training process.

    Args:
        model: the base model.
        config: the ``training`` block.
        world: where it trains.
        trained: which parameters move.
        part: the most tokens at once.
    """
    weight_shards, state_shards = _shards(world)
    activations = _activations(model, config, world, trained, part)
    buffers = _buffers(model, config, world, trained)
    if not world.on_gpu:
        buffers += _HEAP_WASTE * activations + _FP32 * trained.beside
        if world.precision == "bf16":
            buffers -= (_FP32 - _BF16) * trained.whole
        buffers += _saving(model, config, trained)
    adam = _ADAM_BYTES if config.optimizer == "adamw_torch_fused" else _ADAM_8BIT_BYTES
    return Memory(
        weights=int(_weight_bytes(model, config, world, trained) / weight_shards),
        gradients=int(_FP32 * trained.trainable / state_shards),
        optimizer=int(adam * trained.trainable / state_shards),
        activations=int(activations),
        logits=int(_logits(model, config, world, part)),
        buffers=int(buffers),
    )


def recomputes(config: TrainingConfig, world: World) -> bool:
    """Whether activations are computed again: the GPU backends always do."""
    return config.gradient_checkpointing or not world.in_process


def _shards(world: World) -> tuple[int, int]:
    """Over how many processes weights, and gradients with the optimizer, are divided."""
    if world.sharding == "NO_SHARD":
        return 1, 1
    if world.sharding == "HYBRID_SHARD":
        return world.processes_per_worker, world.processes_per_worker
    return world.processes, world.processes


def _weight_bytes(
    model: Architecture, config: TrainingConfig, world: World, trained: Trained
) -> float:
    """Master weights are fp32 in every backend, but for what lies frozen below an adapter."""
    if config.algorithm != "lora_sft":
        return _FP32 * trained.stored
    quantized = _NF4_BYTES if config.load_in_4bit else _INT8_BYTES if config.load_in_8bit else 0
    # On a GPU as published; beside quantized layers, what is left of the model is cast to fp32.
    plain = model.bytes_per_parameter if world.on_gpu and not quantized else _FP32
    packed = trained.quantizable if quantized else 0
    return quantized * packed + plain * (trained.frozen - packed) + _FP32 * trained.trainable


def _activations(
    model: Architecture, config: TrainingConfig, world: World, trained: Trained, part: Part
) -> float:
    widths = _widths(model, config, world)
    layer = _layer_bytes(model, config, widths)
    layer += _attention_bytes(model, config, world, part, widths)
    if config.algorithm != "osft" or not world.in_process:  # ours computes them again
        layer += trained.kept_per_token / max(model.layers, 1) * widths.product
    ends = 3 * model.hidden_size * _FP32  # embedding, last norm, its input
    # While a layer's gradient is computed, those of its widest tensors are there too.
    working = 3 * _width_of_mlp(model) * widths.product + 2 * model.hidden_size * widths.stream
    if _attends_by_row_in_bf16(config, world):
        alone = part.tokens <= part.longest
        working = max(working, working_by_row_in_bf16(model, part.longest, alone=alone))
    if recomputes(config, world):
        kept = model.layers * model.hidden_size * widths.stream + layer
    else:
        kept = model.layers * layer
    return part.tokens * (kept + ends + working)


def _layer_bytes(model: Architecture, config: TrainingConfig, widths: _Widths) -> float:
    """What one layer keeps of one token for its backward pass, but for attention."""
    hidden, stream, product = model.hidden_size, widths.stream, widths.product
    # A norm computes in fp32, and keeps what it gives for its own weight where that is trained.
    norms = 2 * (1 if config.algorithm == "lora_sft" else 2) * _FP32 * hidden
    # Autocast casts that once for each matrix that takes it.
    inputs = (5 if stream != product else 2) * product * hidden
    mlp = (4 if model.gated else 2) * _width_of_mlp(model) * product
    return norms + inputs + mlp


def _attention_bytes(
    model: Architecture, config: TrainingConfig, world: World, part: Part, widths: _Widths
) -> float:
    """What attention keeps of one token in one layer."""
    if config.attention == "eager":
        probabilities = model.heads * part.tokens * (_FP32 + widths.product)
        return fused(model, widths.product) + probabilities
    if _attends_by_row_in_bf16(config, world):
        return by_row_in_bf16(model, part.longest, alone=part.tokens <= part.longest)
    return fused(model, widths.product)


def _attends_by_row_in_bf16(config: TrainingConfig, world: World) -> bool:
    return config.attention != "eager" and world.precision == "bf16" and not world.on_gpu


def _width_of_mlp(model: Architecture) -> int:
    return model.intermediate_size * max(model.experts_per_token, 1)


def _widths(model: Architecture, config: TrainingConfig, world: World) -> _Widths:
    if world.precision == "fp32":
        return _Widths(_FP32, _FP32)
    if _is_published_in_half(model, config, world):
        return _Widths(_BF16, _BF16)
    # FSDP casts the parameters, autocast the products alone.
    return _Widths(_FP32 if world.in_process else _BF16, _BF16)


def _logits(model: Architecture, config: TrainingConfig, world: World, part: Part) -> float:
    if world.in_process:
        per_word = _OWN_LOGIT_BYTES if world.on_gpu else _CPU_LOGIT_BYTES
        return part.trained_tokens * model.vocab_size * per_word
    if config.use_liger:
        return part.tokens * model.hidden_size * _FP32  # in pieces as wide as the hidden state
    return part.tokens * model.vocab_size * _GPU_LOGIT_BYTES


def _buffers(model: Architecture, config: TrainingConfig, world: World, trained: Trained) -> float:
    framework = _CUDA_BYTES if world.on_gpu else _PROCESS_BYTES
    if not world.on_gpu and world.precision == "bf16":
        framework += _CPU_BF16_BYTES
    if world.processes > 1 and world.on_gpu:
        framework += _NCCL_BYTES
    if world.in_process:
        return framework + autocast_copies(model, config, world, trained)
    # FSDP casts (and gathers) the outer parameters and two layers at a time, and their gradients.
    share = trained.stored / max(model.parameters, 1)
    unit = model.outside_layers + share * model.largest_layer
    gathered = _BF16 * (model.outside_layers + 2 * share * model.largest_layer)
    if world.sharding == "SHARD_GRAD_OP":
        gathered = _BF16 * trained.stored
    return framework + gathered + _BF16 * unit


def _saving(model: Architecture, config: TrainingConfig, trained: Trained) -> float:
    """What writing the model takes on the CPU beyond gradients and moments, gone by then.

    safetensors copies the whole model before it writes; OSFT first puts its matrices together.
    """
    copies = model.bytes_per_parameter + (_FP32 if config.algorithm == "osft" else 0)
    return max(0.0, copies * model.parameters - (_FP32 + _ADAM_BYTES) * trained.trainable)


def autocast_copies(
    model: Architecture, config: TrainingConfig, world: World, trained: Trained
) -> float:
    """bf16 copies of the matrices, which the graph keeps until the backward pass is through."""
    if world.precision == "fp32":
        return 0.0
    if _is_published_in_half(model, config, world):
        return _BF16 * trained.adapter
    if recomputes(config, world) or _is_quantized(config):  # which is unpacked where it is used
        return _BF16 * (model.largest_layer + model.vocab_size * model.hidden_size)
    if config.algorithm == "osft":  # its frozen part is in bf16, its factors are cast where used
        return _BF16 * (trained.trainable_flops - trained.low_rank)
    return _BF16 * (trained.frozen_flops + trained.trainable_flops)


def _is_published_in_half(model: Architecture, config: TrainingConfig, world: World) -> bool:
    """Whether an adapter's base lies on the GPU in bf16, so that nothing has to be cast."""
    half = model.bytes_per_parameter <= _BF16
    return config.algorithm == "lora_sft" and world.on_gpu and half and not _is_quantized(config)


def _is_quantized(config: TrainingConfig) -> bool:
    return config.algorithm == "lora_sft" and (config.load_in_4bit or config.load_in_8bit)
