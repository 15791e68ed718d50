"""Where two JSON values first differ, for messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

_ABSENT = "absent"


def first_difference(one: Any, other: Any) -> tuple[str, str, str] | None:
    """The path of the first leaf that differs, and its values in both; None when all is equal."""
    first, second = dict(_leaves(one)), dict(_leaves(other))
    for path in [*first, *(path for path in second if path not in first)]:
        a, b = first.get(path, _ABSENT), second.get(path, _ABSENT)
        if type(a) is not type(b) or a != b:
            return path, str(a), str(b)
    return None


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and scalars; an empty list or object is a leaf too."""
    if isinstance(value, dict) and value:
        for name, item in cast("dict[str, Any]", value).items():
            yield from _leaves(item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and value:
        for at, item in enumerate(cast("list[Any]", value)):
            yield from _leaves(item, f"{path}[{at}]")
    else:
        yield path, value
