"""The estimate of a run as one value: memory, time, cost, and what to change."""

from __future__ import annotations

import math
from typing import Literal

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training.estimate import advice
from ft_assets.training.estimate.architecture import Architecture
from ft_assets.training.estimate.duration import Duration, duration
from ft_assets.training.estimate.memory import Memory, memory
from ft_assets.training.estimate.remedies import Situation, largest_tokens, remedies
from ft_assets.training.estimate.rows import Part, Rows, largest_part, rows_of
from ft_assets.training.estimate.trained import Trained, trained_parameters
from ft_assets.training.estimate.world import GIB, World
from ft_assets.training.token_report import TokenReport
from resources.record import Record

FITS_SHARE = 0.9
"""Share of the memory that an estimate may fill: allocators waste the rest."""
CLEARLY_TOO_LARGE = 1.15
"""Above this multiple of the memory a run is refused; between the two there is a warning."""
_AFTER_FAILURE = 0.75
"""When a run has died of memory the estimate was too low: remedies aim below it by this factor."""
_HOST_PROCESS_BYTES = 3 * GIB
"""Python, CUDA's libraries and pinned buffers of one training process on the host."""


class TrainingEstimate(Record):
    """What a run will need and take. Memory in bytes."""

    base_model: str
    algorithm: str
    world: World
    parameters: int
    trained: Trained
    part: Part
    """The most tokens that one GPU holds at once."""
    memory: Memory
    verdict: Literal["fits", "tight", "too_large"]
    largest_max_tokens_per_gpu: int | None
    """With which the run still fits; None where none does."""
    host_memory: int
    """Of one pod, while the model is loaded."""
    rows: Rows | None
    """None: there is no token report, and nothing is said of rows, steps and time."""
    duration: Duration | None
    remedies: tuple[str, ...]
    """What to change; empty when it fits."""
    remedies_after_failure: tuple[str, ...]
    """What to change when the run dies of memory all the same."""
    warnings: tuple[str, ...]
    guidance: str
    """What the table of model sizes says."""

    @property
    def share_of_memory(self) -> float:
        """Estimated peak as a share of the memory that there is."""
        return self.memory.total / max(self.world.memory_limit, 1)


def estimate(
    architecture: Architecture,
    training: TrainingConfig,
    kubernetes: KubernetesConfig,
    token_report: TokenReport | None,
    *,
    backend: str | None = None,
    cpu_has_bf16: bool = True,
    measured_tokens_per_second: float | None = None,
) -> TrainingEstimate:
    """Estimate a run: a pure function of its arguments.

    Args:
        architecture: the base model's shapes.
        training: the effective ``training`` block.
        kubernetes: the effective ``kubernetes`` block.
        token_report: of the rows that will be trained on, or None when they are not there yet.
        backend: the backend when it is known; see :meth:`World.of`.
        cpu_has_bf16: whether the processor that trains computes in bf16.
        measured_tokens_per_second: of an earlier run of the same model on the same machines.
    """
    world = World.of(training, kubernetes, backend=backend, cpu_has_bf16=cpu_has_bf16)
    trained = trained_parameters(architecture, training)
    part = largest_part(training, world, token_report)
    needed = memory(architecture, training, world, trained, part)
    rows = rows_of(training, token_report) if token_report is not None else None
    situation = Situation(architecture, training, kubernetes, token_report, backend, cpu_has_bf16)
    room = FITS_SHARE * world.memory_limit
    fits = needed.total <= room
    return TrainingEstimate(
        base_model=architecture.name,
        algorithm=training.algorithm,
        world=world,
        parameters=architecture.parameters,
        trained=trained,
        part=part,
        memory=needed,
        verdict=_verdict(needed.total / max(world.memory_limit, 1)),
        largest_max_tokens_per_gpu=largest_tokens(situation, room),
        host_memory=_host_memory(architecture, world, needed),
        rows=rows,
        duration=(
            duration(
                architecture,
                world,
                trained,
                rows,
                part,
                measured_tokens_per_second=measured_tokens_per_second,
            )
            if rows is not None
            else None
        ),
        remedies=() if fits else tuple(remedies(situation, room)),
        remedies_after_failure=tuple(
            remedies(situation, _AFTER_FAILURE * min(needed.total, world.memory_limit))
        ),
        warnings=(
            *advice.warnings(training, rows),
            *_host_warning(architecture, world, needed),
            *_report_warning(training, token_report),
        ),
        guidance=advice.guidance(architecture.parameters),
    )


def remedies_for_out_of_memory(estimate: TrainingEstimate, *, host: bool = False) -> list[str]:
    """What to change, and to what, when a run was ended by a lack of memory.

    Args:
        estimate: of the run.
        host: whether the host's memory ran out (exit status -9) and not the GPU's. On the CPU it
            is the same.
    """
    world = estimate.world
    if host and world.on_gpu:
        needed = math.ceil(1.5 * max(estimate.host_memory, world.host_memory) / GIB)
        return [
            f"set kubernetes.memory to {needed}Gi: loading the model takes about "
            f"{estimate.host_memory / GIB:.0f} GiB per pod, before what the data takes"
        ]
    return list(estimate.remedies_after_failure)


def _verdict(share: float) -> Literal["fits", "tight", "too_large"]:
    if share <= FITS_SHARE:
        return "fits"
    return "tight" if share <= CLEARLY_TOO_LARGE else "too_large"


def _host_memory(model: Architecture, world: World, needed: Memory) -> int:
    """Each process loads the model as it is published before it goes to its GPU."""
    if not world.on_gpu:
        return world.processes_per_worker * needed.total
    loaded = model.parameters * model.bytes_per_parameter
    return int(world.processes_per_worker * (loaded + _HOST_PROCESS_BYTES))


def _host_warning(model: Architecture, world: World, needed: Memory) -> list[str]:
    host = _host_memory(model, world, needed)
    if not world.on_gpu or host <= world.host_memory:
        return []
    return [
        f"kubernetes.memory: {world.host_memory / GIB:.0f} GiB is less than the "
        f"{host / GIB:.0f} GiB that {world.processes_per_worker} processes take while they load "
        "the model: raise it"
    ]


def _report_warning(training: TrainingConfig, report: TokenReport | None) -> list[str]:
    if report is None or report.max_seq_len == training.max_seq_len:
        return []
    return [
        f"the token report was made for max_seq_len {report.max_seq_len} and this is "
        f"{training.max_seq_len}: materialize token_report again for exact rows and steps"
    ]
