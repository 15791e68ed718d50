"""The product of a decomposed matrix: its frozen part as one matrix, its trained part as factors.

``x @ (high + U diag(S) V).T``, without ever making the sum. Of what lies between the factors
nothing is kept for the backward pass: it is the smallest product of all, and with all layers' kept
a step would take more memory than with the whole matrices.

Belongs here: this product, forward and backward. Does not belong here: which directions are frozen,
and that they stay so (:mod:`~ft_assets.training.in_process.methods.osft`).
"""

from __future__ import annotations

# torch has no complete types.
# pyright: reportUnknownMemberType=false, reportIncompatibleMethodOverride=false
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

Factors = tuple[Tensor, Tensor, Tensor]


def decomposed_linear(x: Tensor, high: Tensor, bias: Tensor | None, factors: Factors) -> Tensor:
    """The linear layer [..., m] -> [..., n] of a decomposed matrix; under autocast in its dtype.

    Args:
        x: the layer's input [..., m].
        high: the frozen part [n, m].
        bias: [n], or none.
        factors: those that are trained: U [n, k], singular values [k], V [k, m].
    """
    device = x.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
    with torch.autocast(device, enabled=False):
        x = x.to(dtype)
        # A frozen part in bf16 stays so; it meets fp32 before the training alone.
        whole = functional.linear(x, high.to(dtype), None if bias is None else bias.to(dtype))
        return cast("Tensor", _Trained.apply(whole, x, *factors))


class _Trained(torch.autograd.Function):
    """``whole + x @ (u diag(s) v).T``, written over ``whole``."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, x: Tensor, *factors: Tensor) -> Tensor:
        u, s, v = factors
        ctx.mark_dirty(whole)
        ctx.save_for_backward(x, u, s, v)
        rows = x.flatten(0, -2)
        between = (rows @ v.to(x.dtype).t()).mul_(s.to(x.dtype))
        whole.flatten(0, -2).addmm_(between, u.to(x.dtype).t())
        return whole

    @staticmethod
    def backward(
        ctx: Any, of_whole: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        x, u, s, v = ctx.saved_tensors
        rows, of_rows = x.flatten(0, -2), of_whole.flatten(0, -2)
        v_here, s_here = v.to(x.dtype), s.to(x.dtype)
        bare = rows @ v_here.t()
        of_scaled = of_rows @ u.to(x.dtype)
        of_u = (of_rows.t() @ (bare * s_here)).to(u.dtype)
        of_s = (of_scaled * bare).sum(0).to(s.dtype)
        of_bare = of_scaled.mul_(s_here)
        of_v = (of_bare.t() @ rows).to(v.dtype)
        return of_whole, (of_bare @ v_here).view_as(x), of_u, of_s, of_v
