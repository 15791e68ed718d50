"""In a bf16 step attention is computed in fp32, where torch is faster on the CPU."""

from __future__ import annotations

import torch

from ft_assets.training.in_process.row_attention import attend_by_row

HEADS, TOKENS, SIZE = 2, 14, 8


class Layer(torch.nn.Module):
    """What transformers asks of an attention layer."""

    is_causal = True
    num_key_value_groups = 1


def test_in_bf16_attention_is_that_of_fp32_rounded_at_the_end():
    generator = torch.Generator().manual_seed(1)
    shape = (1, HEADS, TOKENS, SIZE)
    query, key, value = (torch.randn(shape, generator=generator) for _ in range(3))
    value = value.to(torch.bfloat16)
    positions = torch.tensor([[*range(9), *range(TOKENS - 9)]])
    given = {"position_ids": positions, "scaling": SIZE**-0.5}
    exact, _ = attend_by_row(Layer(), query, key, value.float(), None, **given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attend_by_row(Layer(), query, key, value, None, **given)
    assert torch.equal(found, exact.to(torch.bfloat16))
