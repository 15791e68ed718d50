"""Steps, hours and cost, from the arithmetic that the tokens need.

The assumed speeds are constants with their source. A speed that was measured goes before them.
"""

from __future__ import annotations

from ft_assets.training.estimate.architecture import Architecture
from ft_assets.training.estimate.rows import Part, Rows
from ft_assets.training.estimate.trained import Trained
from ft_assets.training.estimate.world import GIB, World
from resources.record import Record

MFU = {"instructlab-training": 0.40, "mini-trainer": 0.30, "peft": 0.25}
"""Assumed share of a GPU's peak that training reaches (6 N per token, recomputation not counted):
the range that FSDP runs of 1B to 13B models report is 0.3 to 0.5; OSFT's and LoRA's thin matrices
reach less."""

GPU_PEAKS: tuple[tuple[int, float, str], ...] = (
    (120, 989e12, "H200"),
    (64, 312e12, "A100 80 GB; an H100 is up to three times as fast"),
    (36, 312e12, "A100 40 GB"),
    (20, 121e12, "L4 or A10"),
    (0, 65e12, "T4"),
)
"""GiB from which a row counts, dense bf16 FLOP/s of its slowest common GPU (NVIDIA's data sheets),
and which one that is."""

CPU_FLOPS_PER_THREAD = {"bf16": 200e9, "fp32": 80e9}
"""From what bench/train_cpu.py printed on two threads, 0.7 GFLOP per token: in fp32 between 184
tokens/s with AVX2 and 277 with AVX-512, in bf16 591 with AVX-512 on an AMD (bench/README.md)."""

CPU_OPTIMIZER_BYTES_PER_SECOND = 25e9
"""AdamW reads and writes 28 bytes per trainable parameter and does no arithmetic to speak of."""

CPU_SECONDS_PER_LAYER = 0.0015
"""What one layer costs beside its arithmetic each time a part goes through, both ways."""

CPU_SECONDS_PER_STEP = 0.01
"""The Trainer, metrics and their report, measured with a model whose arithmetic takes no time."""

CPU_FIRST_TOUCH_BYTES_PER_SECOND = 1e9
"""Gradients and moments are new memory in the first step, which the system has to find and zero; a
virtual machine, whose host has to find it too, may be slower."""

_ADAM_TRAFFIC = 28
_ADAM_NEW = 12


class Duration(Record):
    """How long a run takes, in hours; cost in the currency of ``gpu_hour_price``."""

    tokens_per_second: float
    """Over all processes."""
    speed_from: str
    """What the speed rests on."""
    hours: float
    gpu_hours: float
    cost: float | None
    """None where the price or the GPU is not there."""


def flops_per_token(model: Architecture, trained: Trained, attended: float, share: float) -> float:
    """Forward and backward pass of one token.

    Two per parameter forward, two for the gradient of its input, two more where the parameter is
    trained; attention adds two products with all tokens before, three times over.

    Args:
        model: the base model.
        trained: which parameters move.
        attended: tokens that a token looks back on, on average.
        share: share of the tokens for which logits are computed.
    """
    matrices = 4 * trained.frozen_flops + 6 * trained.trainable_flops
    head = (6 if not trained.adapter else 4) * trained.head_flops
    attention = 12 * model.layers * model.heads * model.head_dim * attended
    return matrices - head * (1 - share) + attention


def duration(
    model: Architecture,
    world: World,
    trained: Trained,
    rows: Rows,
    part: Part,
    *,
    measured_tokens_per_second: float | None = None,
) -> Duration:
    """Hours and cost of a run over ``rows``.

    Args:
        model: the base model.
        world: where it trains.
        trained: which parameters move.
        rows: what the token report says.
        part: the most tokens at once.
        measured_tokens_per_second: of an earlier run of the same model on the same machines.
    """
    if measured_tokens_per_second:
        speed, source = measured_tokens_per_second, "the run before"
    elif world.on_gpu:
        speed, source = _gpu_speed(model, world, trained, rows)
    else:
        speed, source = _cpu_speed(model, world, trained, rows, part)
    hours = rows.tokens / speed / 3600
    gpu_hours = hours * world.gpus
    return Duration(
        tokens_per_second=speed,
        speed_from=source,
        hours=hours,
        gpu_hours=gpu_hours,
        cost=gpu_hours * world.gpu_hour_price if world.gpus and world.gpu_hour_price else None,
    )


def _gpu_speed(
    model: Architecture, world: World, trained: Trained, rows: Rows
) -> tuple[float, str]:
    size = world.memory_limit / GIB
    peak, name = next((peak, name) for least, peak, name in GPU_PEAKS if size >= least)
    share = rows.trained_tokens / rows.tokens if world.in_process else 1.0
    mfu = MFU[world.backend]
    per_step = rows.steps * trained.projection_flops / rows.tokens
    per_token = flops_per_token(model, trained, rows.attended, share) + per_step
    speed = world.gpus * peak * mfu / per_token
    return speed, (
        f"assumed: {mfu:.0%} of {peak / 1e12:.0f} TFLOP/s per GPU (of {size:.0f} GiB: {name})"
    )


def _cpu_speed(
    model: Architecture, world: World, trained: Trained, rows: Rows, part: Part
) -> tuple[float, str]:
    """Of a process: it has its share of the tokens, and makes every step as one alone would.

    What the processes tell each other depends on what lies between them, and is not counted.
    """
    share = rows.trained_tokens / rows.tokens
    rate = world.threads * CPU_FLOPS_PER_THREAD[world.precision]
    per_token = flops_per_token(model, trained, rows.attended, share)
    tokens = rows.tokens / world.processes
    arithmetic = (tokens * per_token + rows.steps * trained.projection_flops) / rate
    optimizer = rows.steps * _ADAM_TRAFFIC * trained.trainable / CPU_OPTIMIZER_BYTES_PER_SECOND
    parts = max(rows.steps, tokens / part.tokens)
    calls = parts * model.layers * CPU_SECONDS_PER_LAYER
    around = rows.steps * CPU_SECONDS_PER_STEP
    each = f", in each of {world.processes} processes" if world.processes > 1 else ""
    start = _ADAM_NEW * trained.trainable / CPU_FIRST_TOUCH_BYTES_PER_SECOND
    return rows.tokens / (arithmetic + optimizer + calls + around + start), (
        f"assumed: {rate / 1e9:.0f} GFLOP/s on {world.threads} threads in {world.precision}{each}"
    )
