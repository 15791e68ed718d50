"""What attention keeps for its backward pass, and up to which length a row is a short one.

Without torch: what trains (``in_process/row_attention.py``) reads the length here, too.
"""

from __future__ import annotations

import math
from functools import cache

from ft_assets.training.estimate.architecture import Architecture

LONGEST_SHORT_ROW = 512
"""Tokens of the longest row whose probabilities are kept in bf16 steps on the CPU.

There they take about as much as the fp32 queries, keys and values of a fused attention do.
"""

_TINY_ROW = 128
"""Rows up to this length may be padded more, for fewer products: their probabilities are few."""
_LEAST_OF_TINY = 0.5
_LEAST_OF_LONGER = 0.6
_MULTIPLE = 8
"""Rows are padded to a multiple of it: bf16 products are slower in between."""
_FP32 = 4
_BF16 = 2


def padded(length: int) -> int:
    """Places of a row that is the longest of those that attend together."""
    return -(-length // _MULTIPLE) * _MULTIPLE


def fewest_beside(longest: int) -> int:
    """Tokens that a short row must have to be padded to ``longest`` and attend together with it."""
    return math.ceil(longest * (_LEAST_OF_TINY if longest <= _TINY_ROW else _LEAST_OF_LONGER))


@cache
def most_places(longest: int) -> float:
    """Probabilities per token and head, where rows up to this length are padded the most."""
    return max(padded(row) ** 2 / fewest_beside(row) for row in range(1, longest + 1))


def fused(model: Architecture, width: int) -> int:
    """Bytes per token of one layer: queries, keys and values, the latter for every head."""
    queries, keys = _queries(model), _keys(model)
    return width * (3 * queries + 3 * keys)


def by_row_in_bf16(model: Architecture, longest: int, *, alone: bool) -> int:
    """Bytes per token of one layer in a bf16 step on the CPU, with rows of up to ``longest``.

    ``alone``: there is one row, or several no longer than it together. Of short ones these take no
    more places.
    """
    places = _places(longest, alone=alone)
    short = int(_BF16 * (2 * _queries(model) + 2 * _keys(model) + model.heads * places))
    return short if longest <= LONGEST_SHORT_ROW else max(short, fused(model, _FP32))


def working_by_row_in_bf16(model: Architecture, longest: int, *, alone: bool) -> int:
    """Bytes per token that are there beside it while such a layer's gradient is computed.

    Two gradients of the probabilities, and the padded rows.
    """
    places = _places(longest, alone=alone)
    return int(_BF16 * (2 * model.heads * places + 3 * _queries(model) + 4 * _keys(model)))


def _places(longest: int, *, alone: bool) -> float:
    if alone and longest <= LONGEST_SHORT_ROW:
        return padded(longest) ** 2 / longest
    return most_places(min(longest, LONGEST_SHORT_ROW))


def _queries(model: Architecture) -> int:
    return model.heads * model.head_dim


def _keys(model: Architecture) -> int:
    return model.kv_heads * model.head_dim
