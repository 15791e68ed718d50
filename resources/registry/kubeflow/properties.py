"""Typed custom properties as the Model Registry keeps them, and back.

The server's integers have 32 bits, and its description allows nine digits. Longer ones are kept as
strings of digits, and the property ``ft_large_integers`` names them, so that they come back as
integers. A PATCH with properties replaces them all, so every change starts from those that are
there; values of kinds that this adapter does not know (structures of other tools) stay as they are.
Does not belong here: which properties a version has.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from resources.registry.port import Property

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE_INTEGERS = "ft_large_integers"
Metadata = dict[str, dict[str, Any]]
"""Properties in the server's form, by name."""

_SMALL = re.compile(r"-?([1-9][0-9]{0,8}|0)")
_DIGITS = re.compile(r"-?[0-9]{1,20}")


def encode(properties: Mapping[str, Property]) -> Metadata:
    """Properties in the server's form."""
    return merge({}, properties)


def merge(there: Metadata, properties: Mapping[str, Property]) -> Metadata:
    """What is there with these properties added or replaced, in the server's form."""
    large = _large(there) - properties.keys()
    large |= {name for name, value in properties.items() if _is_large(value)}
    merged = {**there, **{name: _encode(value) for name, value in properties.items()}}
    merged.pop(LARGE_INTEGERS, None)
    if large:
        merged[LARGE_INTEGERS] = _encode(json.dumps(sorted(large)))
    return merged


def decode(metadata: Metadata) -> dict[str, Property]:
    """Values with their types, by name; without the bookkeeping and without unknown kinds."""
    large = _large(metadata)
    properties: dict[str, Property] = {}
    for name in sorted(metadata.keys() - {LARGE_INTEGERS}):
        value = _decode(metadata[name], large=name in large)
        if value is not None:
            properties[name] = value
    return properties


def _large(metadata: Metadata) -> set[str]:
    text = metadata.get(LARGE_INTEGERS, {}).get("string_value", "[]")
    try:
        names = json.loads(text)
    except json.JSONDecodeError:  # edited by hand: the digits are still there, as strings
        return set()
    return {str(name) for name in cast("list[object]", names)} if isinstance(names, list) else set()


def _is_large(value: Property) -> bool:
    return isinstance(value, int) and not _SMALL.fullmatch(str(int(value)))


def _encode(value: Property) -> dict[str, Any]:
    match value:
        case bool():
            return {"metadataType": "MetadataBoolValue", "bool_value": value}
        case int() if not _is_large(value):
            return {"metadataType": "MetadataIntValue", "int_value": str(int(value))}
        case float():
            return {"metadataType": "MetadataDoubleValue", "double_value": float(value)}
        case _:
            return {"metadataType": "MetadataStringValue", "string_value": str(value)}


def _decode(value: dict[str, Any], *, large: bool) -> Property | None:
    match value:
        case {"metadataType": "MetadataBoolValue", "bool_value": bool() as boolean}:
            return boolean
        case {"metadataType": "MetadataIntValue", "int_value": str() | int() as number}:
            return int(number)
        case {"metadataType": "MetadataDoubleValue", "double_value": float() | int() as number}:
            return float(number)
        case {"metadataType": "MetadataStringValue", "string_value": str() as text}:
            return int(text) if large and _DIGITS.fullmatch(text) else text
        case _:
            return None
