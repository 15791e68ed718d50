"""The product of a decomposed matrix is that of the matrix, and so are its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from ft_assets.training.in_process.methods.osft_product import decomposed_linear

ROWS, IN, OUT, RANK = (2, 5), 12, 9, 3


def parts(*, bias=True):
    """x, high, bias, u, s, v."""
    generator = torch.Generator().manual_seed(3)

    def some(*shape, trained=True):
        return torch.randn(*shape, generator=generator).requires_grad_(trained)

    return [
        some(*ROWS, IN),
        some(OUT, IN, trained=False),
        some(OUT) if bias else None,
        some(OUT, RANK),
        some(RANK),
        some(RANK, IN),
    ]


def plainly(x, high, bias, factors):
    u, s, v = factors
    return functional.linear(x, high + (u * s) @ v, bias)


def gradients(product, given, *, autocast=False):
    for tensor in given:
        if tensor is not None:
            tensor.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = product(*given[:3], tuple(given[3:]))
    (out.float() * torch.linspace(-1, 1, OUT)).square().sum().backward()
    return [out, *(tensor.grad for tensor in given if tensor is not None and tensor.requires_grad)]


@pytest.mark.parametrize("bias", [True, False])
def test_in_fp32_it_is_the_whole_matrixs(bias):
    given = parts(bias=bias)
    expected = gradients(plainly, given)
    for found, wanted in zip(gradients(decomposed_linear, given), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_in_bf16_it_is_the_same_to_that_precision_and_gradients_are_in_fp32(stored):
    given = parts()
    expected = gradients(plainly, given)
    given[1] = given[1].to(stored)
    found = gradients(decomposed_linear, given, autocast=True)
    assert found[0].dtype == torch.bfloat16
    for one, wanted in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, wanted, atol=0.05 * float(wanted.abs().max()), rtol=0.05)


def test_a_frozen_part_in_bf16_meets_fp32_before_the_training():
    given = parts()
    given[1] = given[1].to(torch.bfloat16)
    x, high, bias, *factors = given
    out = decomposed_linear(x, high, bias, tuple(factors))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, plainly(x, high.float(), bias, factors))


@pytest.mark.parametrize("bias", [True, False])
def test_the_first_layers_input_may_need_no_gradient(bias):
    given = parts(bias=bias)
    given[0] = given[0].detach()
    expected = gradients(plainly, given)
    for found, wanted in zip(gradients(decomposed_linear, given), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_its_gradients_are_the_limits_of_differences():
    given = [one if one is None else one.detach().double() for one in parts()]
    for place in (0, 2, 3, 4, 5):
        given[place].requires_grad_()

    def product(x, high, bias, *factors):
        return decomposed_linear(x, high, bias, factors)

    assert torch.autograd.gradcheck(product, given)
