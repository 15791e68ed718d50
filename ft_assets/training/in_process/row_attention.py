"""Attention over rows that lie end to end, one row at a time.

transformers' own way is one mask over the whole sequence: with n rows of equal length it computes
n times the products that are needed, a fifth of a small model's step on the CPU. Here each row is
cut out and given to transformers' SDPA function as if it were alone. In a bf16 step short rows go
to ``short_row_attention.py`` instead.
"""

from __future__ import annotations

# torch and transformers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateUsage=false
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ft_assets.training.estimate.attention import LONGEST_SHORT_ROW
from ft_assets.training.in_process import short_row_attention
from ft_assets.training.in_process.trainer import isolates_rows

NAME = "sdpa_of_rows"
_Given = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values."""


class _Asked(NamedTuple):
    """What else the model hands to attention."""

    module: torch.nn.Module
    mask: Tensor | None
    further: dict[str, Any]


def attend_by_row(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **further: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each row of a packed sequence [1, heads, tokens, head size].

    A row begins where the position is 0; the model hands its position ids through to here.
    """
    positions: Tensor | None = further.get("position_ids")
    starts = [] if positions is None else (positions[0] == 0).nonzero().squeeze(1).tolist()
    if len(starts) > 1:
        attention_mask = None  # each row has only itself to look at
    ends = [*starts[1:], query.shape[2]]
    lengths = [end - start for start, end in zip(starts or [0], ends, strict=True)]
    attend = _attend_in_bf16_step if _is_bf16_step(query) else _attend_one_by_one
    return attend((query, key, value), lengths, _Asked(module, attention_mask, further)), None


def _is_bf16_step(query: Tensor) -> bool:
    return query.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def _attend_one_by_one(given: _Given, lengths: Sequence[int], asked: _Asked) -> Tensor:
    module, mask, further = asked
    if len(lengths) == 1:
        return sdpa_attention_forward(module, *given, mask, **further)[0]
    queries, keys, values = (tensor.split(lengths, dim=2) for tensor in given)
    rows = zip(queries, keys, values, strict=True)
    return torch.cat([sdpa_attention_forward(module, *row, mask, **further)[0] for row in rows], 1)


def _attend_in_bf16_step(given: _Given, lengths: Sequence[int], asked: _Asked) -> Tensor:
    """Short rows by plain products; long ones in fp32: torch's own for the CPU is slow in bf16."""
    dtype, (query, key, _) = given[2].dtype, given
    if query.shape[2] != key.shape[2]:
        raise ValueError("attention by row has a row's keys all at once, and no cache of them")
    plain = _is_plainly_causal(query, asked)
    found: list[Tensor] = []
    start = 0
    for short, group in groupby(lengths, lambda length: plain and length <= LONGEST_SHORT_ROW):
        together = list(group)
        end = start + sum(together)
        rows = _each(given, lambda tensor, at=slice(start, end): tensor[:, :, at])
        if short:
            one = short_row_attention.attend(*rows, together, asked.further["scaling"])
        else:
            with torch.autocast("cpu", enabled=False):
                one = _attend_one_by_one(_each(rows, Tensor.float), together, asked)
        found.append(one.to(dtype))
        start = end
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def _each(given: _Given, change: Callable[[Tensor], Tensor]) -> _Given:
    query, key, value = given
    return change(query), change(key), change(value)


def _is_plainly_causal(query: Tensor, asked: _Asked) -> bool:
    """Whether a token looks at itself and every one before it, and nothing else is asked for."""
    module, mask, further = asked
    alone = query.shape[0] == 1 and mask is None
    causal = further.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    others = ("position_bias", "cache", "softcap", "s_aux")
    plain = not further.get("dropout") and all(further.get(name) is None for name in others)
    return alone and causal and plain and further.get("scaling") is not None


def keeps_rows_apart(model: Any, vocabulary: int, device: str) -> bool:
    """Whether rows may lie end to end; on the CPU, where it can, the model then attends by row."""
    if device == "cpu" and attends_by_row(model):
        if isolates_rows(model, vocabulary):
            return True
        model.set_attn_implementation("sdpa")  # its attention does not get to see the positions
    return isolates_rows(model, vocabulary)


def attends_by_row(model: Any) -> bool:
    """Let the model attend row by row where that is the same; returns whether it is.

    It is where every layer attends to all earlier tokens of a row, through SDPA. A sliding window,
    a chunk or a state that is carried along keeps the model on its own path.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    windowed = window and getattr(config, "use_sliding_window", True)
    same = (
        model.config._attn_implementation == "sdpa"
        and kinds == {"full_attention"}
        and not windowed
        and not getattr(config, "attention_chunk_size", None)
        and model._supports_attention_backend
    )
    if same:
        AttentionInterface.register(NAME, attend_by_row)
        model.set_attn_implementation(NAME)
    return same
