"""From a row, in any of the accepted formats, to one of the four shapes.

Nothing in a row that would change what is trained is ignored: it is understood or the row is
refused by name. Keys beside those of the format (an id, a source) are metadata and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ft_assets.data.formats.chat import chat_row, find_chat
from ft_assets.data.formats.errors import RowError, keys_of
from ft_assets.data.formats.instruction import instruction_row, is_instruction
from ft_assets.data.formats.options import FormatName, RowFormat
from ft_assets.data.formats.plain import segments_row, text_row, tokens_row
from ft_assets.data.shapes import Row

__all__ = ["FormatName", "RowError", "RowFormat", "normalize"]

_ANY = RowFormat()


def normalize(row: Mapping[str, Any], options: RowFormat = _ANY) -> Row:
    """The row in its shape. Normalising a written row again gives the same shape.

    Raises:
        RowError: the row is not valid, or of another format than the one that was named.
    """
    name = options.format if options.format != "auto" else _detect(row, options)
    if name == "chat":
        return chat_row(row, options)
    if name == "instruction":
        return instruction_row(row, options)
    if name == "input_output":
        return segments_row(row)
    if name == "completion":
        return text_row(row)
    if name == "tokens":
        return tokens_row(row)
    raise RowError(
        "unknown_format",
        f"no known format has these keys ({keys_of(row)}): a row holds messages, conversations, "
        "instruction and output (or question and answer, prompt and completion), segments, text, "
        "or input_ids; name another key of the turns with dataset.field_messages",
    )


def _detect(row: Mapping[str, Any], options: RowFormat) -> FormatName | None:
    """The format whose keys the row has; the most special first."""
    if row.get("input_ids") is not None:
        return "tokens"
    if find_chat(row, options):
        return "chat"
    if row.get("segments") is not None:
        return "input_output"
    if is_instruction(row):
        return "instruction"
    return "completion" if row.get("text") is not None else None
