"""Attention of short rows in bf16 on the CPU, by plain matrix products.

torch's fused attention for the CPU takes three times as long in its backward pass in bf16 as in
fp32, and in fp32 leaves the processor's bf16 products unused. Here a row's scores are computed as
one matrix per key head. That matrix is kept for the backward pass, so that it is for short rows
alone (``LONGEST_SHORT_ROW``, where the plan counts its memory).

The precision is that of transformers' "eager" attention in bf16: scores and probabilities are
rounded to bf16, the softmax adds up in fp32.
"""

from __future__ import annotations

# torch has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportPrivateImportUsage=false
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor


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
        return cast("Tensor", _RowAttention.apply(*in_bf16, _Rows(tuple(lengths), scaling)))


class _Rows(NamedTuple):
    """Rows that lie end to end."""

    lengths: tuple[int, ...]
    scaling: float

    def places(self) -> Iterator[slice]:
        """Of each row among the tokens."""
        start = 0
        for length in self.lengths:
            yield slice(start, start + length)
            start += length


class _RowAttention(torch.autograd.Function):
    """Its name is the one by which a profile knows attention (profiling/categories.py)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: _Rows) -> Tensor:
        heads, tokens = query.shape[1:3]
        found = query.new_empty(1, tokens, heads, value.shape[3])
        kept: list[Tensor] = []
        for row in rows.places():
            queries, keys, values = _by_key_head(query, key, row), key[0, :, row], value[0, :, row]
            probabilities = _probabilities(queries, keys, rows.scaling)
            given = torch.bmm(probabilities, values)
            found[0, row] = given.view(heads, keys.shape[1], -1).transpose(0, 1)
            kept.append(probabilities)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.rows = rows
        return found

    @staticmethod
    def backward(ctx: Any, of_found: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, *kept = ctx.saved_tensors
        rows: _Rows = ctx.rows
        of_query, of_key, of_value = (torch.empty_like(it) for it in (query, key, value))
        of_given = of_found.transpose(1, 2)
        for row, probabilities in zip(rows.places(), kept, strict=True):
            queries, keys, values = _by_key_head(query, key, row), key[0, :, row], value[0, :, row]
            given = _by_key_head(of_given, key, row)
            of_value[0, :, row] = torch.bmm(probabilities.transpose(1, 2), given)
            of_scores = torch._softmax_backward_data(
                torch.bmm(given, values.transpose(1, 2)), probabilities, -1, probabilities.dtype
            )
            of_queries = _scaled(of_scores, keys, rows.scaling)
            of_query[0, :, row] = of_queries.view(query.shape[1], -1, query.shape[3])
            of_key[0, :, row] = _scaled(of_scores.transpose(1, 2), queries, rows.scaling)
        return of_query, of_key, of_value, None


def _probabilities(queries: Tensor, keys: Tensor, scaling: float) -> Tensor:
    """Of one row [key heads, heads per key head * tokens, tokens]: what each looks at."""
    scores = _scaled(queries, keys.transpose(1, 2), scaling)
    length = keys.shape[1]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores.view(-1, length, length).masked_fill_(later, -torch.inf)
    return scores.softmax(-1)


def _scaled(left: Tensor, right: Tensor, scaling: float) -> Tensor:
    """The product of each pair of matrices, times a number, rounded once."""
    return torch.baddbmm(left.new_empty(1), left, right, beta=0, alpha=scaling)


def _by_key_head(heads: Tensor, key: Tensor, row: slice) -> Tensor:
    """One row's queries, or what is like them [key heads, heads per key head * tokens, size]."""
    own = heads[0, :, row]
    return own.reshape(key.shape[1], -1, own.shape[2])
