"""Environment variables of a pod: values, and references to secrets and config maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ft_assets.config.kubernetes import names
from ft_assets.config.kubernetes.shapes import ENV_SOURCE
from ft_assets.config.kubernetes.structure import conform
from ft_assets.config.secret import is_secret_name, is_secret_value, secret_error

_HARMLESS = frozenset({"TOKENIZERS_PARALLELISM"})
"""Variables that only sound like secrets."""


def environment(given: object) -> dict[str, Any]:
    """Variables by name: a text, or Kubernetes' reference (``{secretKeyRef: {name, key}}``).

    Args:
        given: that map, or Kubernetes' own list of ``{name, value}`` and ``{name, valueFrom}``.

    Raises:
        PydanticCustomError: a name or a reference is none; as for every secret, neither the message
            nor what is made of it shows a value.
    """
    try:
        return {name: _entry(name, value) for name, value in _by_name(given).items()}
    except ValueError as error:
        raise secret_error(str(error)) from None


def _by_name(given: object) -> dict[str, object]:
    if isinstance(given, Mapping):
        return {str(name): value for name, value in cast("Mapping[str, object]", given).items()}
    if not isinstance(given, list):
        raise secret_error("env must be a map of names and values")
    found: dict[str, object] = {}
    for index, entry in enumerate(cast("list[object]", given)):
        if not isinstance(entry, Mapping):
            raise secret_error(f"env[{index}] must be a map with name and value or valueFrom")
        fields = dict(cast("Mapping[str, object]", entry))
        name = fields.pop("name", None)
        source = fields.pop("valueFrom", fields.pop("value_from", None))
        value = fields.pop("value", "" if source is None else None)
        if not isinstance(name, str) or fields or (source is not None and value is not None):
            raise secret_error(f"env[{index}] takes name, and value or valueFrom")
        if name in found:
            raise secret_error(f"env sets {name} twice: keep one of them")
        found[name] = value if source is None else source
    return found


def _entry(name: str, value: object) -> Any:
    names.variable(name)
    if isinstance(value, Mapping):
        source: dict[str, Any] = conform(cast("object", value), ENV_SOURCE, f"env.{name}")
        if len(source) != 1:
            raise ValueError(
                f"env.{name} takes one of secretKeyRef, configMapKeyRef, fieldRef and "
                "resourceFieldRef"
            )
        for kind in ("secretKeyRef", "configMapKeyRef"):
            if kind in source:
                names.dns_subdomain(source[kind]["name"])
        return source
    named = is_secret_name(name) and name not in _HARMLESS
    if named or (isinstance(value, str) and is_secret_value(value)):
        raise secret_error(
            f"env.{name} looks like a secret: keep its value out of the pipeline and name a "
            f"Kubernetes secret: {name}: {{secretKeyRef: {{name: SECRET, key: KEY}}}}"
        )
    if not isinstance(value, str):
        raise secret_error(f"env.{name} must be a text: put the value between quotes")
    return value
