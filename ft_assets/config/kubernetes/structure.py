"""Whether a value has the shape of a Kubernetes structure, and the value in Kubernetes' spelling.

Belongs here: fields and types, by the tables of ``shapes``. Does not belong here: what Kubernetes
demands beyond them (``scheduling``, ``storage``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, cast

from ft_assets.config.kubernetes.shapes import Shape

_NAMES: dict[type, str] = {str: "a text", int: "a whole number", bool: "true or false"}


def conform(value: object, shape: Shape, at: str) -> Any:
    """The value with every field in camelCase.

    Args:
        value: as a user wrote it, in Kubernetes' spelling or in Python's (``node_affinity``).
        shape: the table of its structure.
        at: where it stands, for the message.

    Raises:
        ValueError: a field is unknown, missing or of another type; the message names the place and
            the nearest name.
    """
    if isinstance(shape, dict):
        return _object(value, cast("dict[str, Shape]", shape), at)
    if isinstance(shape, list):
        (item,) = cast("list[Shape]", shape)
        if not isinstance(value, list | tuple):
            raise ValueError(f"{at} must be a list")  # noqa: TRY004
        entries = cast("list[object]", value)
        return [conform(entry, item, f"{at}[{index}]") for index, entry in enumerate(entries)]
    if isinstance(shape, tuple):
        choices = cast("tuple[str, ...]", shape)
        if value not in choices:
            raise ValueError(
                f"{at} is {value!r}: {_nearest(str(value), list(choices))}write one of "
                f"{', '.join(choice or repr('') for choice in choices)}"
            )
        return value
    wanted = cast("type", shape)
    if wanted is str and isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{at} is {value!r}, a number: put it between quotes")
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ValueError(f"{at} must be {_NAMES[wanted]}")
    return value


def _object(value: object, shape: dict[str, Shape], at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{at} must be a map")  # noqa: TRY004
    entries = cast("Mapping[str, object]", value)
    if "*" in shape:
        return {
            str(key): conform(entry, shape["*"], f"{at}.{key}") for key, entry in entries.items()
        }
    known = {field.removesuffix("!"): inner for field, inner in shape.items()}
    made: dict[str, Any] = {}
    for key, entry in entries.items():
        field = key if key in known else _camel_case(str(key))
        if field not in known:
            raise ValueError(
                f"{at}.{key}: there is no such field; {_nearest(field, list(known))}there are "
                f"{', '.join(known)}"
            )
        if field in made:
            raise ValueError(f"{at}.{field} stands there twice, in two spellings: keep one")
        if entry is not None:
            made[field] = conform(entry, known[field], f"{at}.{field}")
    for field in shape:
        if field.endswith("!") and field[:-1] not in made:
            raise ValueError(f"{at}.{field[:-1]} is missing")
    return made


def _camel_case(key: str) -> str:
    """``node_affinity`` as ``nodeAffinity``."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), key)


def _nearest(given: str, known: list[str]) -> str:
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(given.lower(), lower, n=1, cutoff=0.6)
    return f"did you mean {lower[close[0]]}? " if close else ""
