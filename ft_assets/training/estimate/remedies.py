"""What to change, and to what value, when a run does not fit into memory.

Each remedy is tried on the estimate itself: only one that gets below the target is proposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training.estimate.architecture import Architecture
from ft_assets.training.estimate.memory import memory, recomputes
from ft_assets.training.estimate.rows import largest_part
from ft_assets.training.estimate.trained import Trained, trained_parameters
from ft_assets.training.estimate.world import GIB, World
from ft_assets.training.token_report import TokenReport

_MORE_GPUS = (2, 4, 8)
_TOKEN_STEP = 64
_SHORTEST = 256
_MOST_TOKENS = 1 << 20


@dataclass(frozen=True)
class Situation:
    """A run, with the memory that it would take when parameters are other ones."""

    model: Architecture
    training: TrainingConfig
    kubernetes: KubernetesConfig
    report: TokenReport | None
    backend: str | None
    cpu_has_bf16: bool
    _trained: dict[str, Trained] = field(default_factory=dict[str, Trained])
    """By algorithm: no other change moves it, and a large model has many tensors to count."""

    def world(
        self, training: Mapping[str, Any] | None = None, kubernetes: Mapping[str, Any] | None = None
    ) -> World:
        """The machines, with some parameters changed."""
        return World.of(
            self.training.model_copy(update=dict(training or {})),
            self.kubernetes.model_copy(update=dict(kubernetes or {})),
            backend=self.backend,
            cpu_has_bf16=self.cpu_has_bf16,
        )

    def total(
        self, training: Mapping[str, Any] | None = None, kubernetes: Mapping[str, Any] | None = None
    ) -> int:
        """Bytes at the peak, with some parameters changed."""
        config = self.training.model_copy(update=dict(training or {}))
        world = self.world(training, kubernetes)
        if config.algorithm not in self._trained:
            self._trained[config.algorithm] = trained_parameters(self.model, config)
        trained = self._trained[config.algorithm]
        part = largest_part(config, world, self.report)
        return memory(self.model, config, world, trained, part).total


def remedies(situation: Situation, target: float) -> list[str]:
    """What brings the peak below ``target`` bytes, the mildest change first."""
    training, world = situation.training, situation.world()
    tried = [_tokens_alone(situation, target)]
    if not recomputes(training, world):
        said = "set training.gradient_checkpointing to true: about a third more time"
        tried.append(_with_tokens(situation, target, said, {"gradient_checkpointing": True}))
    if world.backend in ("instructlab-training", "mini-trainer") and not training.use_liger:
        said = "set training.use_liger to true: the logits are never whole in memory"
        tried.append(_with_tokens(situation, target, said, {"use_liger": True}))
    tried.append(_more_gpus(situation, target, world))
    tried.extend(_adapters(situation, target, world))
    tried.append(_more_memory(situation, target, world))
    return [remedy for remedy in tried if remedy is not None]


def _tokens_alone(situation: Situation, target: float) -> str | None:
    given = situation.training.max_tokens_per_gpu
    tokens = largest_tokens(situation, target, most=given)
    if tokens is None:
        found = _shorter_rows(situation, target, {})
        return f"set {found}" if found else None
    if tokens == given:
        return None
    total = situation.total({"max_tokens_per_gpu": tokens})
    return (
        f"set training.max_tokens_per_gpu to {tokens} (it is {given}): the result stays the same "
        f"{_about(total)}"
    )


def _with_tokens(
    situation: Situation, target: float, said: str, changes: Mapping[str, Any]
) -> str | None:
    """A change, with fewer tokens at once where it is not enough alone."""
    total = situation.total(changes)
    if total <= target:
        return f"{said} {_about(total)}"
    tokens = largest_tokens(
        situation, target, most=situation.training.max_tokens_per_gpu, changes=changes
    )
    if tokens is not None:
        total = situation.total({**changes, "max_tokens_per_gpu": tokens})
        return f"{said}; and training.max_tokens_per_gpu to {tokens} {_about(total)}"
    found = _shorter_rows(situation, target, changes)
    return f"{said}; and {found}" if found else None


def _about(total: int) -> str:
    return f"(about {total / GIB:.1f} GiB)"


def _adapters(situation: Situation, target: float, world: World) -> list[str | None]:
    """LoRA in place of all weights, and QLoRA in place of LoRA."""
    training = situation.training
    # Its backend is the algorithm's own, or stays the CPU's.
    backend = "auto" if world.on_gpu else "cpu"
    adapter = {
        "algorithm": "lora_sft",
        "backend": backend,
        "gradient_checkpointing": True,
        "fsdp_sharding_strategy": None,
        "use_liger": False,
    }
    also = f"training.gradient_checkpointing to true and training.backend to {backend}"
    tried: list[str | None] = []
    if training.algorithm != "lora_sft":
        said = f"set training.algorithm to lora_sft (an adapter is trained), {also}"
        tried.append(_with_tokens(situation, target, said, adapter))
    if world.on_gpu and not (training.algorithm == "lora_sft" and training.load_in_4bit):
        said = (
            "train an adapter over 4-bit weights: set training.algorithm to lora_sft, "
            f"training.load_in_4bit to true, {also}"
        )
        quantized = {**adapter, "load_in_4bit": True, "load_in_8bit": False}
        tried.append(_with_tokens(situation, target, said, quantized))
    return tried


def largest_tokens(
    situation: Situation,
    target: float,
    most: int = _MOST_TOKENS,
    changes: Mapping[str, Any] | None = None,
) -> int | None:
    """The largest ``max_tokens_per_gpu`` with which the run fits; None where none does.

    It is never below ``max_seq_len``: a row of full length must have room.
    """
    return _largest(
        lambda tokens: situation.total({**(changes or {}), "max_tokens_per_gpu": tokens}) <= target,
        least=situation.training.max_seq_len,
        most=most,
    )


def _largest(fits: Callable[[int], bool], *, least: int, most: int) -> int | None:
    """The largest number for which ``fits``, to a multiple of 64 where it is not an end."""
    if not fits(least):
        return None
    if most <= least or fits(most):
        return max(least, most)
    low, high = least, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return max(least, low // _TOKEN_STEP * _TOKEN_STEP)


def _shorter_rows(situation: Situation, target: float, changes: Mapping[str, Any]) -> str | None:
    """A smaller ``max_seq_len``, where even one row of full length is too much."""
    longest = situation.training.max_seq_len

    def total(tokens: int) -> int:
        lengths = {"max_tokens_per_gpu": tokens, "max_seq_len": tokens}
        return situation.total({**changes, **lengths})

    tokens = _largest(
        lambda tokens: total(tokens) <= target, least=min(_SHORTEST, longest), most=longest
    )
    if tokens is None:
        return None
    left_out = "longer rows are left out and counted"
    if situation.report is not None and situation.report.lengths["max"] <= tokens:
        left_out = "no row is longer"
    return (
        f"training.max_seq_len and training.max_tokens_per_gpu to {tokens} (they are {longest} and "
        f"{situation.training.max_tokens_per_gpu}): {left_out} {_about(total(tokens))}"
    )


def _more_gpus(situation: Situation, target: float, world: World) -> str | None:
    if world.backend not in ("instructlab-training", "mini-trainer"):
        return None
    given = situation.kubernetes.gpus_per_worker
    sharded: dict[str, Any] = {}
    and_set = ""
    if world.backend == "instructlab-training":
        sharded = {"fsdp_sharding_strategy": "FULL_SHARD"}
        and_set = " and training.fsdp_sharding_strategy to FULL_SHARD"
    ways = [(and_set, sharded)]
    if not situation.training.use_liger:
        ways.append((f"{and_set} and training.use_liger to true", {**sharded, "use_liger": True}))
    for gpus in (given, *_MORE_GPUS):
        if gpus < given or (gpus == given and not sharded):
            continue
        for said, changes in ways:
            total = situation.total(changes, {"gpus_per_worker": gpus, "procs_per_worker": "auto"})
            if total <= target:
                return (
                    f"set kubernetes.gpus_per_worker to {gpus} (it is {given}){said} "
                    f"{_about(total)}"
                )
    return None


def _more_memory(situation: Situation, target: float, world: World) -> str:
    share = min(target / max(world.memory_limit, 1), 1.0)
    needed = math.ceil(situation.total() / max(share, 0.1) / GIB)
    if world.on_gpu:
        return f"take a GPU of at least {needed} GiB, and say so in kubernetes.gpu_memory"
    return f"set kubernetes.memory to {needed}Gi, or train on a machine with that much free memory"
