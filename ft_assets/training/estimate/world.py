"""Where a run takes place: backend, processes, and how much memory and arithmetic each has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.config.kubernetes.quantity import parse_quantity
from ft_assets.training.arguments.backends import GPU_BACKEND
from resources.record import Record

GIB = 1024**3

CPU_INFO = Path("/proc/cpuinfo")

Sharding = Literal["FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD", "NO_SHARD"]


class World(Record):
    """The machines of one run."""

    backend: str
    on_gpu: bool
    processes: int
    """Training processes over all workers; on GPUs one for each."""
    processes_per_worker: int
    sharding: Sharding
    """How weights, gradients and optimizer are divided; NO_SHARD for one process."""
    precision: Literal["bf16", "fp32"]
    memory_limit: int
    """Bytes of one GPU; on the CPU a process's share of the pod's."""
    host_memory: int
    """Bytes of the pod."""
    threads: int
    """Threads of a process of the cpu backend."""
    gpu_hour_price: float
    """0: unknown."""

    @property
    def in_process(self) -> bool:
        """Whether our own engine trains (autocast, logits of trained tokens only)."""
        return self.backend in ("cpu", "peft")

    @property
    def gpus(self) -> int:
        """GPUs that the run holds."""
        return self.processes if self.on_gpu else 0

    @classmethod
    def of(
        cls,
        training: TrainingConfig,
        kubernetes: KubernetesConfig,
        *,
        backend: str | None = None,
        cpu_has_bf16: bool = True,
    ) -> World:
        """The machines that the two blocks ask for.

        Args:
            training: the ``training`` block.
            kubernetes: the ``kubernetes`` block.
            backend: the backend when it is known; ``auto`` is otherwise the algorithm's own where
                the pod has a GPU, else cpu.
            cpu_has_bf16: whether the processor is faster in bf16 than in fp32, for
                ``precision: auto``.
        """
        chosen = backend or training.backend
        if chosen != "cpu":  # each algorithm has one backend on GPUs
            on_gpu = chosen != "auto" or kubernetes.gpus_per_worker
            chosen = GPU_BACKEND[training.algorithm] if on_gpu else "cpu"
        on_gpu = chosen != "cpu"
        per_worker = 1 if chosen == "peft" else _processes_per_worker(kubernetes, on_gpu)
        processes = per_worker * (1 if chosen == "peft" else kubernetes.workers)
        memory = bytes_of(kubernetes.memory)
        return cls(
            backend=chosen,
            on_gpu=on_gpu,
            processes=processes,
            processes_per_worker=per_worker,
            sharding=_sharding(training, chosen, processes),
            precision=_precision(training, chosen, cpu_has_bf16),
            memory_limit=bytes_of(kubernetes.gpu_memory) if on_gpu else memory // per_worker,
            host_memory=memory,
            threads=training.threads or max(1, round(quantity(kubernetes.cpu) / per_worker)),
            gpu_hour_price=kubernetes.gpu_hour_price,
        )


def this_cpu_is_fast_in_bf16() -> bool:
    """Whether this machine's processor multiplies bf16 matrices faster than fp32 ones.

    It does with a unit for such products (AMX), and on AMD's with avx512_bf16. On Intel's these
    vector instructions alone do not pay. These two were measured (bench/train_cpu.py,
    ``chosen_precision_ratio``), AMX was not. Asked without loading torch.
    """
    if not CPU_INFO.exists():
        return False
    words = set(CPU_INFO.read_text().split())
    return "amx_bf16" in words or {"AuthenticAMD", "avx512_bf16"} <= words


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: ``500m`` is 0.5, ``1Ki`` is 1024."""
    return float(parse_quantity(text))


def bytes_of(text: str) -> int:
    """A Kubernetes quantity of memory, in bytes."""
    return int(quantity(text))


def gib(count: float) -> float:
    """Bytes as GiB, to two places."""
    return round(count / GIB, 2)


def _processes_per_worker(kubernetes: KubernetesConfig, on_gpu: bool) -> int:
    asked = kubernetes.procs_per_worker
    if not on_gpu and kubernetes.gpus_per_worker:
        return 1  # a pipeline made for GPUs, tried out without
    return max(1, kubernetes.gpus_per_worker if asked == "auto" else int(asked))


def _sharding(training: TrainingConfig, backend: str, processes: int) -> Sharding:
    if processes == 1 or backend in ("cpu", "peft"):
        return "NO_SHARD"
    if backend == "mini-trainer":
        return "FULL_SHARD"  # FSDP2 over one mesh of all processes
    # What instructlab-training takes when nothing is set.
    return training.fsdp_sharding_strategy or "HYBRID_SHARD"


def _precision(
    training: TrainingConfig, backend: str, cpu_has_bf16: bool
) -> Literal["bf16", "fp32"]:
    if backend not in ("cpu", "peft"):
        return "bf16"
    if training.precision != "auto":
        return training.precision
    return "bf16" if backend == "peft" or cpu_has_bf16 else "fp32"
