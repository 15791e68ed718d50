"""Rows without a chat template: text in segments, raw text, and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ft_assets.data.formats.errors import RowError, flag_of, shown, text_of
from ft_assets.data.shapes import IGNORED, Segment, Segments, Text, Tokens

_TOO_LARGE = 2**31


def segments_row(row: Mapping[str, Any]) -> Segments:
    """``segments``: [{label, text}]. Nothing is added between, before or after them.

    Raises:
        RowError: a segment is not valid, or none is trained on.
    """
    items = _list(row.get("segments"), "segments")
    segments = [_segment(item, f"segment {n} of 'segments'") for n, item in enumerate(items, 1)]
    if not any(segment.label and segment.text for segment in segments):
        raise RowError("nothing_trained", "no segment has the label true: nothing to learn from")
    return Segments(segments)


def _segment(item: object, where: str) -> Segment:
    if not isinstance(item, Mapping):
        raise RowError("not_a_segment", f"{where} is not an object but a {type(item).__name__}")
    segment = cast("Mapping[str, Any]", item)
    other = next((key for key in segment if key not in ("label", "text")), None)
    if other is not None:
        raise RowError("unsupported_key", f"{where}: the key {shown(other)} is not known")
    text = text_of(segment.get("text"), f"{where}: 'text'")
    return Segment(flag_of(segment.get("label"), f"{where}: 'label'"), text)


def text_row(row: Mapping[str, Any]) -> Text:
    """``text``: raw text, all of it trained on.

    Raises:
        RowError: it is no text, or blank.
    """
    text = text_of(row.get("text"), "'text'")
    if not text.strip():
        raise RowError("empty_text", "'text' is empty: nothing to learn from")
    return Text(text)


def tokens_row(row: Mapping[str, Any]) -> Tokens:
    """``input_ids`` and ``labels``, made with the base model's own tokenizer.

    Without ``labels`` every token is trained on.

    Raises:
        RowError: they are no lists of whole numbers, differ in length, or train on nothing.
    """
    ids = _whole_numbers(row.get("input_ids"), "input_ids")
    labels = _whole_numbers(row["labels"], "labels") if row.get("labels") is not None else ids
    if len(labels) != len(ids):
        raise RowError(
            "labels_differ", f"'labels' has {len(labels)} entries and 'input_ids' {len(ids)}"
        )
    bad = next((n for n in ids if n < 0), None)
    if bad is not None:
        raise RowError("not_a_token", f"'input_ids' holds {bad}: a token id is 0 or more")
    pairs = zip(ids, labels, strict=True)
    wrong = next((place for place, (i, m) in enumerate(pairs) if m not in (i, IGNORED)), None)
    if wrong is not None:
        raise RowError(
            "label_is_not_the_token",
            f"'labels' holds {labels[wrong]} at place {wrong + 1}, where 'input_ids' holds "
            f"{ids[wrong]}: a label is its token or {IGNORED}",
        )
    if all(label == IGNORED for label in labels):
        raise RowError("nothing_trained", f"all labels are {IGNORED}: nothing to learn from")
    return Tokens(ids, labels)


def _whole_numbers(value: object, key: str) -> list[int]:
    items = _list(value, key)
    for item in items:
        if not isinstance(item, int) or isinstance(item, bool) or abs(item) >= _TOO_LARGE:
            raise RowError(
                "not_a_token", f"'{key}' holds {shown(item)}: write 32-bit whole numbers"
            )
    return cast("list[int]", items)


def _list(value: object, key: str) -> list[object]:
    if not isinstance(value, list):
        raise RowError("not_a_list", f"'{key}' is not a list but a {type(value).__name__}")
    if not value:
        raise RowError("empty_list", f"'{key}' is an empty list")
    return cast("list[object]", value)
