"""Attention of short rows in bf16 on the CPU, by plain matrix products.

torch's fused attention for the CPU is slower in its backward pass in bf16 than in fp32, and in fp32
leaves the processor's bf16 products unused. Here rows of about one length are
padded to it, and the scores of each row and key head are one of as many matrices that are
multiplied at once. They are kept for the backward pass, so that it is for short rows alone: up to
``LONGEST_SHORT_ROW`` of ``estimate/attention.py``, where the plan counts their memory.

The precision is that of transformers' "eager" attention in bf16: scores and probabilities are
rounded to bf16, the softmax adds up in fp32.
"""

from __future__ import annotations

# torch has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportPrivateImportUsage=false
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ft_assets.training.estimate.attention import fewest_beside, padded


def attend(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scaling: float
) -> Tensor:
    """Causal attention within each of several rows that lie end to end.

    Args:
        query: [1, heads, tokens, size], of any dtype; it is cast to bf16.
        key: [1, key heads, tokens, size]; each key head serves as many consecutive heads.
        value: [1, key heads, tokens, value size].
        lengths: of the rows; their sum is the number of tokens.
        scaling: factor of the scores.

    Returns:
        [1, tokens, heads, value size], bf16.
    """
    with torch.autocast("cpu", enabled=False):  # what is cast there is kept there
        in_bf16 = (tensor.to(torch.bfloat16) for tensor in (query, key, value))
        return cast("Tensor", _RowAttention.apply(*in_bf16, tuple(lengths), scaling))


class _Group(NamedTuple):
    """Rows that are padded to one length."""

    rows: int
    length: int
    tokens: Tensor
    """Places of the rows' tokens among all."""
    source: Tensor
    """For each place of the padded rows the token that lies there; for padding, any of the row."""
    places: Tensor
    """Where the tokens lie in the padded rows, in the order of ``tokens``."""
    padding: Tensor
    """[rows * length, 1]: whether no token lies there."""
    later: Tensor
    """[length, length]: whether the second place comes after the first."""


@lru_cache(maxsize=32)  # all layers of a step ask for the same, once for each stretch of short rows
def _groups(lengths: tuple[int, ...]) -> tuple[_Group, ...]:
    """The rows in groups, the longest first, with as little padding as the plan counts on."""
    starts = list(accumulate(lengths, initial=0))
    left = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    found: list[_Group] = []
    while left:
        longest = lengths[left[0]]
        together = [row for row in left if lengths[row] >= fewest_beside(longest)]
        left = left[len(together) :]
        found.append(_group([(starts[row], lengths[row]) for row in together], longest))
    return tuple(found)


def _group(rows: Sequence[tuple[int, int]], longest: int) -> _Group:
    """Of rows that are given by their start and length."""
    length = padded(longest)
    starts, lengths = torch.tensor(rows).T
    within = torch.arange(length)
    filled = within < lengths[:, None]
    source = starts[:, None] + torch.where(filled, within, 0)
    return _Group(
        rows=len(rows),
        length=length,
        tokens=source[filled],
        source=source.flatten(),
        places=filled.flatten().nonzero().squeeze(1),
        padding=~filled.flatten()[:, None],
        later=torch.ones(length, length, dtype=torch.bool).triu(1),
    )


class _RowAttention(torch.autograd.Function):
    """Its name is the one by which a profile knows attention (profiling/categories.py)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, *how: Any) -> Tensor:
        lengths, scaling = how
        found = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
        kept: list[Tensor] = []
        for group in _groups(lengths):
            queries, keys, values = (_padded(it[0], group, key) for it in (query, key, value))
            scores = _scaled(queries, keys.transpose(1, 2), scaling)
            scores.view(-1, group.length, group.length).masked_fill_(group.later, -torch.inf)
            probabilities = scores.softmax(-1)
            given = _of_tokens(torch.bmm(probabilities, values), group)
            found.index_copy_(0, group.tokens, given.transpose(0, 1))
            kept.append(probabilities)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.how = how
        return found[None]

    @staticmethod
    def backward(ctx: Any, of_found: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, *kept = ctx.saved_tensors
        lengths, scaling = ctx.how
        of_all = [torch.empty_like(it) for it in (query, key, value)]
        of_given = of_found[0].transpose(0, 1)
        for group, probabilities in zip(_groups(lengths), kept, strict=True):
            queries, keys, values = (_padded(it[0], group, key) for it in (query, key, value))
            given = _padded(of_given, group, key, clear=True)
            of_scores = torch._softmax_backward_data(
                torch.bmm(given, values.transpose(1, 2)), probabilities, -1, probabilities.dtype
            )
            of_each = (
                _scaled(of_scores, keys, scaling),
                _scaled(of_scores.transpose(1, 2), queries, scaling),
                torch.bmm(probabilities.transpose(1, 2), given),
            )
            for of_one, gradient in zip(of_all, of_each, strict=True):
                of_one[0].index_copy_(1, group.tokens, _of_tokens(gradient, group))
        return of_all[0], of_all[1], of_all[2], None, None


def _padded(states: Tensor, group: _Group, key: Tensor, *, clear: bool = False) -> Tensor:
    """[heads, tokens, size] -> [key heads * rows, heads per key head * length, size].

    Args:
        states: of all tokens.
        group: whose rows are taken.
        key: of the attention; its heads are the key heads.
        clear: whether the padding is 0. What lies there is seen by no token, as all come before it,
            but gradients of the padding would reach them.
    """
    rows = states.index_select(1, group.source)
    if clear:
        rows.masked_fill_(group.padding, 0.0)
    size = states.shape[2]
    by_row = rows.view(key.shape[1], -1, group.rows, group.length, size).transpose(1, 2)
    return by_row.reshape(key.shape[1] * group.rows, -1, size)


def _of_tokens(padded: Tensor, group: _Group) -> Tensor:
    """The way back: [heads, tokens of the group, size], without the padding."""
    size = padded.shape[2]
    key_heads = padded.shape[0] // group.rows
    by_head = padded.view(key_heads, group.rows, -1, group.length, size).transpose(1, 2)
    return by_head.reshape(-1, group.rows * group.length, size).index_select(1, group.places)


def _scaled(left: Tensor, right: Tensor, scaling: float) -> Tensor:
    """The product of each pair of matrices, times a number, rounded once."""
    return torch.baddbmm(left.new_empty(1), left, right, beta=0, alpha=scaling)
