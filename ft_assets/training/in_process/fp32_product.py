"""Products of fp32 matrices that take no part in autograd, by the quicker of torch's two libraries.

torch leaves them to MKL, which keeps to AVX2 on processors that are not Intel's; oneDNN, which
torch takes for bf16, uses AVX-512 on all that have it. What is computed is the same, to rounding.

Belongs here: which library, and its call. Does not belong here: products of a step's graph.
"""

from __future__ import annotations

# torch has no complete types, of its operators none.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ft_assets.training.estimate.world import CPU_INFO


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left`` [n, k] times ``right`` [k, m], both in fp32 and without gradients."""
    linear = _onednn() if left.device.type == "cpu" else None
    if linear is None or 0 in (*left.shape, *right.shape):  # oneDNN multiplies no empty matrices
        return left @ right
    return linear(left, right.T, None, "none", [], "")


@cache
def _onednn() -> Any:
    """oneDNN's linear layer, an operator that torch has for its compiler; None for MKL."""
    words = set(CPU_INFO.read_text().split()) if CPU_INFO.exists() else set[str]()
    if (
        "avx512f" not in words
        or "GenuineIntel" in words
        or not torch.backends.mkldnn.is_available()
    ):
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
