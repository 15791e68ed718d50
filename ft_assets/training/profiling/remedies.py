"""What to change, from the numbers of a profile: the three things that promise most.

The thresholds of GPU use, fragmentation and memory operations are those of axolotl's profile
analysis; the others are ours. Every remedy names one parameter of the ``training`` block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.record import Record

if TYPE_CHECKING:
    from ft_assets.training.profiling.categories import Category
    from ft_assets.training.profiling.summary import ProfileSummary

GPU_USE_LOW = 0.5
FRAGMENTATION_HIGH = 0.2
MEMORY_OPERATIONS_HIGH = 0.1
GAPS_HIGH = 0.2
SMALL_KERNELS_HIGH = 0.5
MATMUL_HIGH = 0.5
SMALL_KERNEL_SECONDS = 10e-6
"""About what a launch costs: a shorter kernel waits for its launch."""
COUNT = 3


class Remedy(Record):
    """One thing to change."""

    finding: str
    """What was measured."""
    parameter: str
    """The parameter of the ``training`` block."""
    advice: str
    beyond_threshold: bool
    """Whether the number is beyond its threshold; else it is only where most of the time goes."""


def remedies_for(summary: ProfileSummary) -> list[Remedy]:
    """The first three: thresholds that are crossed, then the largest kinds of work."""
    found: list[Remedy] = []
    for remedy in [*_beyond_thresholds(summary), *_largest_parts(summary)]:
        if remedy.parameter not in {other.parameter for other in found}:
            found.append(remedy)
    return found[:COUNT]


def _beyond_thresholds(summary: ProfileSummary) -> list[Remedy]:
    gpu = summary.device == "gpu"
    shares = {part.category: part.share for part in summary.categories}
    found: list[Remedy] = []

    def add(finding: str, parameter: str, advice: str) -> None:
        found.append(
            Remedy(finding=finding, parameter=parameter, advice=advice, beyond_threshold=True)
        )

    if summary.gpu_use is not None and summary.gpu_use < GPU_USE_LOW:
        add(
            f"the GPU works {summary.gpu_use:.0%} of the time (below {GPU_USE_LOW:.0%})",
            "max_tokens_per_gpu",
            "raise it: more tokens at once give the GPU more to do for each launch",
        )
    fragmentation = summary.memory.fragmentation
    if fragmentation is not None and fragmentation > FRAGMENTATION_HIGH:
        add(
            f"{fragmentation:.0%} of the reserved memory holds no tensor "
            f"(above {FRAGMENTATION_HIGH:.0%})",
            "env",
            "set PYTORCH_CUDA_ALLOC_CONF: expandable_segments:True",
        )
    if summary.memory_operations > MEMORY_OPERATIONS_HIGH:
        finding = (
            f"copies and fills take {summary.memory_operations:.0%} of the work "
            f"(above {MEMORY_OPERATIONS_HIGH:.0%})"
        )
        add(finding, *_against_copies(summary))
    if summary.idle.share > GAPS_HIGH:
        between = "kernels" if gpu else "operators"
        add(
            f"{summary.idle.share:.0%} of the time lies between {between} "
            f"(above {GAPS_HIGH:.0%}): Python is the slower part",
            "max_tokens_per_gpu",
            "raise it, so that each pass through Python covers more tokens",
        )
    if gpu and summary.small_kernels is not None and summary.small_kernels > SMALL_KERNELS_HIGH:
        add(
            f"{summary.small_kernels:.0%} of the kernels are shorter than 10 µs "
            f"(above {SMALL_KERNELS_HIGH:.0%})",
            "use_liger",
            "set it to true: its kernels do several of these operations in one",
        )
    if shares.get("matmul", 0.0) > MATMUL_HIGH:
        add(
            f"matrix products take {shares['matmul']:.0%} of the work (above {MATMUL_HIGH:.0%})",
            *_LARGEST[gpu]["matmul"],
        )
    return found


def _against_copies(summary: ProfileSummary) -> tuple[str, str]:
    if summary.device == "cpu":
        return (
            "max_tokens_per_gpu",
            "raise it: weights are cast and gradients added once for each part of a batch",
        )
    between = summary.copies.h2d + summary.copies.d2h
    if between > summary.copies.d2d + summary.copies.set:
        return (
            "max_tokens_per_gpu",
            "raise it: fewer and larger transfers between main memory and GPU",
        )
    return "max_tokens_per_gpu", "raise it: gradients are added up once for each part of a batch"


_LARGEST: dict[bool, dict[Category, tuple[str, str]]] = {
    True: {
        "matmul": ("precision", "use bf16 where it is fp32; else the GPU does what it is good at"),
        "attention": ("attention", "use flash_attention_2 where it is installed"),
        "normalisation": ("use_liger", "set it to true: norms in one kernel each"),
        "optimizer": ("optimizer", "use adamw_torch_fused: one kernel for many weights"),
        "loss": ("use_liger", "set it to true: loss and output layer in one kernel"),
        "copies": ("max_tokens_per_gpu", "raise it: fewer and larger copies"),
        "communication": (
            "fsdp_sharding_strategy",
            "use SHARD_GRAD_OP where memory allows it: weights travel once for each step",
        ),
        "elementwise": ("use_liger", "set it to true: activations and norms in one kernel each"),
        "other": ("use_liger", "set it to true: fewer operations that nobody has made fast"),
    },
    False: {
        # It depends on the processor: bench/train_cpu.py, chosen_precision_ratio.
        "matmul": ("precision", "leave it at auto: bf16 where the processor is faster in it"),
        "attention": ("attention", "use sdpa, which does not write out the scores"),
        "normalisation": ("threads", "use all cores that are free"),
        "optimizer": ("effective_batch_size", "raise it: fewer optimizer steps for the same rows"),
        "loss": ("max_seq_len", "lower it where rows are cut anyway: fewer tokens to predict"),
        "copies": ("max_tokens_per_gpu", "raise it: fewer casts of the weights"),
        "communication": ("threads", "use all cores that are free, in one process"),
        "elementwise": ("threads", "use all cores that are free: this work is spread over them"),
        "other": ("max_tokens_per_gpu", "raise it: fewer calls for the same tokens"),
    },
}


def _largest_parts(summary: ProfileSummary) -> list[Remedy]:
    return [
        Remedy(
            finding=f"{part.category} takes {part.share:.0%} of the work",
            parameter=_LARGEST[summary.device == "gpu"][part.category][0],
            advice=_LARGEST[summary.device == "gpu"][part.category][1],
            beyond_threshold=False,
        )
        for part in summary.categories
    ]
