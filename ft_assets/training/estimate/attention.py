"""What attention keeps for its backward pass, and up to which length a row is a short one.

Without torch: what trains (``in_process/row_attention.py``) reads the length here, too.
"""

from __future__ import annotations

from ft_assets.training.estimate.architecture import Architecture

LONGEST_SHORT_ROW = 512
"""Tokens of the longest row whose probabilities are kept in bf16 steps on the CPU.

There they take about as much as the fp32 queries, keys and values of a fused attention do.
"""

LEAST_OF_LONGEST = 0.6
"""Such rows are padded to the longest of a group, of which none has a smaller share."""
_FP32 = 4
_BF16 = 2


def fused(model: Architecture, width: int) -> int:
    """Bytes per token of one layer: queries, keys and values, the latter for every head."""
    queries, keys = _queries(model), _keys(model)
    return width * (3 * queries + 3 * keys)


def by_row_in_bf16(model: Architecture, longest: int, *, alone: bool) -> int:
    """Bytes per token of one layer in a bf16 step on the CPU, with rows of up to ``longest``.

    ``alone``: there is one row, and nothing to be padded to.
    """
    rows = min(longest, LONGEST_SHORT_ROW) / (1 if alone else LEAST_OF_LONGEST)
    short = int(_BF16 * (2 * _queries(model) + 2 * _keys(model) + model.heads * rows))
    return short if longest <= LONGEST_SHORT_ROW else max(short, fused(model, _FP32))


def _queries(model: Architecture) -> int:
    return model.heads * model.head_dim


def _keys(model: Architecture) -> int:
    return model.kv_heads * model.head_dim
