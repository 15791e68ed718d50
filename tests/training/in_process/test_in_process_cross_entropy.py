"""The loss and its gradient are torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from ft_assets.training.in_process.cross_entropy import summed_cross_entropy


def some(dtype, *, scale=5.0):
    generator = torch.Generator().manual_seed(2)
    logits = (torch.randn(7, 300, generator=generator) * scale).to(dtype).requires_grad_()
    return logits, torch.randint(300, (7,), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 5.0, 200.0])
@pytest.mark.parametrize("factor", [1.0, -0.3])
def test_loss_and_gradient(dtype, scale, factor):
    logits, targets = some(dtype, scale=scale)
    expected = functional.cross_entropy(logits.float(), targets, reduction="sum")
    (wanted,) = torch.autograd.grad(expected * factor, logits)
    loss = summed_cross_entropy(logits, targets)
    (found,) = torch.autograd.grad(loss * factor, logits)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-5)
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-2 if dtype != loss.dtype else 1e-4)


def test_a_second_backward_pass_gives_the_same():
    logits, targets = some(torch.float32)
    loss = summed_cross_entropy(logits, targets) / 3
    first, second = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_logit_that_is_not_finite_gives_no_finite_loss():
    logits, targets = some(torch.float32)
    with torch.no_grad():
        logits[3, 5] = float("nan")
    assert summed_cross_entropy(logits, targets).isnan()


def test_without_gradients_it_is_the_same():
    logits, targets = some(torch.bfloat16)
    with torch.no_grad():
        plain = summed_cross_entropy(logits, targets)
    torch.testing.assert_close(summed_cross_entropy(logits, targets).detach(), plain)
