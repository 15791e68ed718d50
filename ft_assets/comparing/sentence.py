"""What changed between two versions, in one sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ft_assets.comparing.change import Change
    from ft_assets.comparing.data import DataChange
    from ft_assets.comparing.metrics import MetricChange, SameDocuments
    from ft_assets.comparing.parameters import ParameterChange

_PARAMETERS_SAID = 3
_DROPS_SAID = 3
_LONGEST = 40  # characters of a value
_ELLIPSIS = "..."
_MAKE_A_MODEL = ("training", "dataset")
_BASE_MODEL = "training.base_model"
_SOURCES = ("code digest", "git commit")


def sentence(
    *,
    recipes: tuple[str, str],
    data: DataChange,
    parameters: Sequence[ParameterChange],
    base_model: Sequence[Change],
    code: Sequence[Change],
    metric: MetricChange | None,
) -> str:
    """Recipe, data, parameters, base model and code in turn, then the metric that counts."""
    causes = [
        *_recipe(*recipes),
        *_data(data),
        *_parameters(parameters),
        *_base_model(base_model),
        *_code(code),
    ]
    said = "; ".join(causes) or "nothing that is recorded changed"
    return said if metric is None else f"{said}; {_metric(metric)}"


def short(value: Any, longest: int = _LONGEST) -> str:
    """A value as people read it; of one that is too long, its beginning and its end."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    ends = (longest - len(_ELLIPSIS)) // 2
    return text if len(text) <= longest else f"{text[:ends]}{_ELLIPSIS}{text[-ends:]}"


def _recipe(old: str, new: str) -> Iterator[str]:
    if old != new:
        yield f"recipe {new} instead of {old}"


def _data(data: DataChange) -> Iterator[str]:
    parts = [*_drops(data), *_row_numbers(data)]
    if parts:
        yield ", ".join(parts)
    if data.rows is not None and data.rows.moved_to_training:
        moved = data.rows.moved_to_training
        yield f"{moved:,} held-out row{'' if moved == 1 else 's'} moved into training"


def _drops(data: DataChange) -> Iterator[str]:
    adds, removes, changes = data.drops_in_all
    added, removed = _named(data.drops_added, adds), _named(data.drops_removed, removes)
    if added and removed:
        yield f"{added} instead of {removed}"
    elif added or removed:
        yield f"{added} more" if added else f"without {removed}"
    if data.drops_changed:
        yield f"{_named(data.drops_changed, changes)} changed"


def _named(drops: Sequence[str], in_all: int) -> str:
    rest = in_all - _DROPS_SAID
    named = ", ".join(drops[-_DROPS_SAID:])
    return f"{named} and {rest} others" if rest > 0 else named


def _row_numbers(data: DataChange) -> Iterator[str]:
    old, new = data.train_rows
    if old is not None and new is not None and old != new:
        yield f"{_rows(abs(new - old))} {'more' if new > old else 'fewer'}"
    elif data.rows is not None and not data.same_training_rows:
        yield f"{_rows(data.rows.train_added)} replaced"


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def _parameters(parameters: Sequence[ParameterChange]) -> Iterator[str]:
    """Those that make a model, in the order of the table; the others where there are no such."""
    others = [one for one in parameters if one.parameter != _BASE_MODEL]  # said by itself
    making = [one for one in others if one.parameter.partition(".")[0] in _MAKE_A_MODEL]
    said = [
        f"{one.parameter.partition('.')[2]} {short(one.old) or 'none'} -> "
        f"{short(one.new) or 'none'}"
        for one in (making or others)[:_PARAMETERS_SAID]
    ]
    if said:
        rest = len(others) - len(said)
        more = f" and {rest} more parameter{'' if rest == 1 else 's'}" if rest > 0 else ""
        yield ", ".join(said) + more


def _base_model(changes: Sequence[Change]) -> Iterator[str]:
    by_name = {one.what: one for one in changes}
    started = by_name.get("started from")
    if started is not None:
        yield (
            f"started from {started.new or 'the base model'} instead of "
            f"{started.old or 'the base model'}"
        )
    if "digest" not in by_name:
        return  # the same model from another place
    for what in ("name", "revision", "digest"):
        change = by_name.get(what)
        if change is not None:
            yield f"base model {short(change.old) or 'none'} -> {short(change.new) or 'none'}"
            return


def _code(changes: Sequence[Change]) -> Iterator[str]:
    versions = [one for one in changes if one.what.startswith("code version of ")]
    for one in versions:
        yield f"{one.what.removeprefix('code version of ')} by code version {one.new} ({one.old})"
    if not versions and any(one.what in _SOURCES for one in changes):
        yield "another release of the code"
    packages = [one for one in changes if one.what.startswith("package ")]
    if packages:
        named = ", ".join(
            f"{one.what.removeprefix('package ')} {one.old} -> {one.new}"
            for one in packages[:_PARAMETERS_SAID]
        )
        rest = len(packages) - _PARAMETERS_SAID
        yield named + (f" and {rest} more packages" if rest > 0 else "")


def _metric(metric: MetricChange) -> str:
    name = metric.metric.replace("held_out/", "held-out ")
    beside = metric.same_documents
    documents = "rows" if metric.metric.startswith("held_out/") else "questions"
    if metric.comparable:
        return f"{_pair(name, metric)} on the same {documents}"
    if beside is not None:
        return f"{_pair(name, metric)} on other {documents}, {_beside(beside)} on the same ones"
    return f"{_pair(name, metric)}, not comparable: {metric.why_not}"


def _pair(name: str, metric: MetricChange) -> str:
    return f"{name} {number(metric.old)} -> {number(metric.new)}"


def _beside(beside: SameDocuments) -> str:
    return f"{number(beside.old)} -> {number(beside.new)}"


def number(value: float | None) -> str:
    """A score as people read it."""
    return "unknown" if value is None else f"{value:.4f}"
