"""Tensors that wait in a file: memory that the system may take while nobody looks at them."""

from __future__ import annotations

# torch's storages have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


@torch.no_grad()
def keep_in_a_file(tensors: Sequence[torch.Tensor], folder: Path) -> None:
    """Move tensors of the CPU and of one dtype, in place, from memory to a file that is mapped.

    The file has lost its name when this returns: it goes when this process ends, however it ends.
    What is written to a tensor later is in memory again, and not in the file.

    Args:
        tensors: each keeps its values, its shape and its dtype.
        folder: on the disk that has room for them.

    Raises:
        OSError: it has not.
    """
    size = sum(tensor.nbytes for tensor in tensors)
    if not size:
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        name = Path(scratch) / "tensors"
        with name.open("wb") as file:
            for tensor in tensors:
                file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        mapped: Any = torch.UntypedStorage.from_file(str(name), shared=False, nbytes=size)
    offset = 0
    for tensor in tensors:
        alike = torch.empty(0, dtype=tensor.dtype)
        strides = torch.empty_like(tensor, device="meta").contiguous().stride()
        tensor.data = alike.set_(mapped, offset, tensor.shape, strides)
        offset += tensor.numel()
