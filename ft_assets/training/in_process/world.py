"""The processes that train one model together, and what they tell each other.

Belongs here: sums, agreements and copies over all processes, with gloo. Does not belong here: who
starts the processes (``processes.py``), and which rows a step has (``trainer.py``).

Every process sees every batch and takes its share of the rows; gradients are added up before the
optimizer moves, so that all hold the same weights. transformers and accelerate are not told that
there are others: they would cut the batches, and average where the loss is a sum.
"""

from __future__ import annotations

# torch.distributed has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_BUCKET = 64 * 2**20
"""Bytes of gradients that are added up at once."""

_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")
"""From these accelerate would conclude that it has to divide the work."""


class PeerLostError(Exception):
    """Another process of the training ended, or cannot be reached any more."""


@dataclass(eq=False)
class World:
    """This process among all that train; alone, every agreement is its own opinion."""

    rank: int = 0
    size: int = 1
    group: Any = None
    """gloo's process group; None for one process."""
    settled: bool = False
    """Whether all processes have done their work: from here on none waits for another."""

    @property
    def first(self) -> bool:
        """Whether this process writes: metrics, checkpoints and the model."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share; all shares together are the items, each once."""
        return items[self.rank :: self.size] if self.size > 1 else items

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Each number, added up over all processes."""
        if self.size == 1:
            return numbers
        added = torch.tensor(numbers, dtype=torch.float64)
        self._add_up(added)
        return tuple(added.tolist())

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in at least one process."""
        return flag if self.size == 1 else self.total(float(flag))[0] > 0

    def barrier(self) -> None:
        """Wait until all processes are here; the last thing that they do together."""
        if self.size > 1:
            self.total(0.0)
            self.settled = True

    def text(self, text: str) -> str:
        """The first process's text."""
        if self.size == 1:
            return text
        own = text.encode() if self.first else b""
        length = int(self.total(float(len(own)))[0])
        if length == 0:
            return ""
        content = torch.tensor(list(own) or [0] * length, dtype=torch.uint8)
        self._broadcast(content)
        return bytes(content.tolist()).decode()

    @torch.no_grad()
    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Put the first process's values into the others' tensors."""
        if self.size == 1:
            return
        for tensor in tensors:
            values = tensor.detach().contiguous()
            flat = values.reshape(-1).view(torch.uint8)
            if flat.numel():
                self._broadcast(flat)
                tensor.copy_(flat.view(values.dtype).reshape(values.shape))

    @torch.no_grad()
    def add_up_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over all processes.

        A process without a gradient adds nothing; one that no process has stays away.
        """
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        has = torch.tensor([float(one.grad is not None) for one in trained], dtype=torch.float64)
        self._add_up(has)
        moved = [one for one, count in zip(trained, has.tolist(), strict=True) if count]
        for bucket in _buckets(moved):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._add_up(flat)
            parts = flat.split([gradient.numel() for gradient in gradients])
            for parameter, part in zip(bucket, parts, strict=True):
                if parameter.grad is None:
                    parameter.grad = part.reshape(parameter.shape).clone()
                else:
                    parameter.grad.copy_(part.reshape(parameter.shape))

    def _add_up(self, tensor: Tensor) -> None:
        with _peers():
            self.group.allreduce([tensor]).wait()

    def _broadcast(self, tensor: Tensor) -> None:
        with _peers():
            self.group.broadcast(tensor, 0).wait()


ALONE = World()
"""One process that trains by itself."""


@contextmanager
def joined(timeout: timedelta) -> Generator[World]:
    """The world that torchrun's environment describes, while the block runs.

    Args:
        timeout: how long one exchange may take: a process that is silent for longer is lost.

    Raises:
        PeerLostError: not all processes came.
    """
    from torch.distributed import ProcessGroupGloo
    from torch.distributed.rendezvous import rendezvous

    with _peers():
        store, rank, size = next(rendezvous("env://", timeout=timeout))
        group = ProcessGroupGloo(store, rank, size, timeout)
    for name in _TORCHRUN:
        os.environ.pop(name, None)
    yield World(rank, size, group)


@contextmanager
def _peers() -> Generator[None]:
    """gloo says only by its RuntimeError that another process is gone."""
    try:
        yield
    except RuntimeError as error:  # torch's DistError among them
        raise PeerLostError(str(error)) from error


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters of one dtype, so many that a bucket of gradients stays small."""
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if bucket and (size >= _BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.nbytes
    if bucket:
        yield bucket
