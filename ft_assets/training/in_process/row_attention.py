"""Attention over rows that lie end to end, one row at a time.

transformers' own way is one mask over the whole sequence: with n rows of equal length it computes
n times the products that are needed, a fifth of a small model's step on the CPU. Here each row is
cut out and given to transformers' SDPA function as if it were alone.
"""

from __future__ import annotations

# torch and transformers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateUsage=false
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ft_assets.training.in_process.trainer import isolates_rows

NAME = "sdpa_of_rows"


def attend_by_row(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **further: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' SDPA for each row of a packed sequence [1, heads, tokens, head size].

    A row begins where the position is 0; the model hands its position ids through to here. A bf16
    step attends in fp32: torch's backward pass for the CPU is several times as slow in bf16.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        query, key, as_fp32 = query.float(), key.float(), value.float()
        with torch.autocast("cpu", enabled=False):
            found, _ = attend_by_row(module, query, key, as_fp32, attention_mask, **further)
        return found.to(value.dtype), None
    positions: torch.Tensor | None = further.get("position_ids")
    starts = [] if positions is None else (positions[0] == 0).nonzero().squeeze(1).tolist()
    if len(starts) <= 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **further)
    ends = [*starts[1:], query.shape[2]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    queries, keys, values = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    rows = [
        sdpa_attention_forward(module, *row, attention_mask=None, **further)[0]
        for row in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(rows, dim=1), None


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
