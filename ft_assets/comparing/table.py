"""A comparison as one table: the command and the page of the asset show the same rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ft_assets.comparing.sentence import number, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ft_assets.comparing.change import Change
    from ft_assets.comparing.comparison import VersionComparison
    from ft_assets.comparing.data import DataChange
    from ft_assets.comparing.metrics import MetricChange
    from ft_assets.comparing.parameters import ParameterChange

Row = dict[str, str]
UNKNOWN = "not known"
"""The part of what is not known any more."""
_DIGEST = re.compile(r"[0-9a-f]{40,64}")
_DIGEST_SHOWN = 12
_LONGEST = 80  # characters of a value


def table_rows(comparison: VersionComparison) -> list[Row]:
    """Rows of ``part``, ``what``, ``before``, ``now`` and ``note``, all of them texts."""
    return [
        *(_metric(one) for one in comparison.metrics),
        *_data(comparison.data),
        *(
            _row("parameter", one.parameter, _value(one.old), _value(one.new), _default(one))
            for one in comparison.parameters
        ),
        *_changes("base model", comparison.base_model),
        *_changes("code", comparison.code),
        *(_row(UNKNOWN, "", "", "", one) for one in comparison.unknown),
    ]


def _row(part: str, what: str, before: str, now: str, note: str = "") -> Row:
    return {"part": part, "what": what, "before": before, "now": now, "note": note}


def _metric(one: MetricChange) -> Row:
    notes = [one.why_not and f"not compared: {one.why_not}"]
    if one.difference is not None:
        notes.append(f"{one.difference:+.4f}")
    if one.same_documents is not None:
        beside = one.same_documents
        interval = "" if beside.low is None else f" ({beside.low:+.4f} to {beside.high:+.4f})"
        notes.append(
            f"on the same documents {number(beside.old)} -> {number(beside.new)}{interval}"
        )
    before = _with_error(one.old, one.old_stderr)
    now = _with_error(one.new, one.new_stderr)
    return _row("metric", one.metric, before, now, "; ".join(note for note in notes if note))


def _with_error(value: float | None, stderr: float | None) -> str:
    if value is None:
        return ""
    return number(value) if stderr is None else f"{number(value)} ± {stderr:.4f}"


def _named(drops: Sequence[str], in_all: int) -> str:
    named, rest = ", ".join(drops), in_all - len(drops)
    return f"{named} and {rest} others" if rest else named


def _data(data: DataChange) -> Iterator[Row]:
    adds, removes, changes = data.drops_in_all
    added, removed = _named(data.drops_added, adds), _named(data.drops_removed, removes)
    if added or removed:
        yield _row("data", "drops", removed, added)
    if data.drops_changed:
        yield _row("data", "changed drops", "", _named(data.drops_changed, changes))
    yield from _changes("data", data.facts)
    if data.rows is None:
        return
    for what, removed, added in (
        ("training rows", data.rows.train_removed, data.rows.train_added),
        ("held-out rows", data.rows.held_out_removed, data.rows.held_out_added),
    ):
        if removed or added:
            yield _row("data", f"{what}, one by one", f"{removed:,} removed", f"{added:,} added")
    for what, moved in (
        ("held-out rows that are trained on now", data.rows.moved_to_training),
        ("training rows that are held out now", data.rows.moved_to_held_out),
    ):
        if moved:
            yield _row("data", what, "", f"{moved:,}")


def _changes(part: str, changes: Sequence[Change]) -> Iterator[Row]:
    for one in changes:
        yield _row(part, one.what, _value(one.old), _value(one.new))


def _value(value: object) -> str:
    """Digests shortened: they say that something differs, and are long."""
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value[:_DIGEST_SHOWN]
    return short(value, _LONGEST)


def _default(one: ParameterChange) -> str:
    said = "" if one.default is None else f"default {_value(one.default)}"
    return "; ".join(text for text in (one.note, said) if text)
