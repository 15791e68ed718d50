"""The summed cross entropy of a few rows over a large vocabulary, on the CPU.

torch's own makes the log-softmax, a gradient of zeros and the gradient, each as large as the logits
in fp32. Here the probabilities become the gradient where they lie, in the forward pass; the
backward pass makes one more. A GPU has one kernel for all of it.
"""

from __future__ import annotations

# torch has no complete types.
# pyright: reportUnknownMemberType=false, reportIncompatibleMethodOverride=false
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional


def summed_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over rows of ``-log softmax(logits)[target]``, computed in fp32; a scalar, in nats.

    Args:
        logits: [rows, vocabulary].
        targets: [rows], token ids.
    """
    logits = logits.float()
    trains = torch.is_grad_enabled() and logits.requires_grad
    if not trains or logits.device.type != "cpu":
        return functional.cross_entropy(logits, targets, reduction="sum")
    return cast("Tensor", _SummedCrossEntropy.apply(logits, targets))


class _SummedCrossEntropy(torch.autograd.Function):
    """Its name is the one by which a profile knows the loss (profiling/categories.py)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        at = targets[:, None]
        highest = logits.amax(1, keepdim=True)
        chosen = logits.gather(1, at)
        scores = torch.sub(logits, highest).exp_()
        total = scores.sum(1, keepdim=True)
        loss = (total.log() + highest - chosen).sum()
        # Softmax less one at the target: the gradient of the sum.
        scores.div_(total).scatter_add_(1, at, torch.full_like(chosen, -1.0))
        ctx.save_for_backward(scores)
        return loss

    @staticmethod
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * of_loss, None
