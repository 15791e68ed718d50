"""On which nodes a pod may run: tolerations and affinity, beyond their shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ft_assets.config.kubernetes import names
from ft_assets.config.kubernetes.shapes import AFFINITY, TOLERATION
from ft_assets.config.kubernetes.structure import conform

_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_MOST_WEIGHT = 100


def tolerations(given: object) -> list[dict[str, Any]]:
    """Tolerations in Kubernetes' spelling.

    Raises:
        ValueError: Kubernetes would refuse one; the message names it by its place.
    """
    made: list[dict[str, Any]] = conform(given, [TOLERATION], "tolerations")
    for index, toleration in enumerate(made):
        _toleration(toleration, f"tolerations[{index}]")
    return made


def _toleration(toleration: Mapping[str, Any], at: str) -> None:
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key") and not exists:
        raise ValueError(f"{at} has no key: name the taint's key, or set operator: Exists for all")
    if toleration.get("key"):
        names.label_key(toleration["key"])
    if exists and toleration.get("value"):
        raise ValueError(f"{at}.value: operator Exists takes none; remove it, or use Equal")
    names.label_value(f"{at}.value", toleration.get("value", ""))
    if "tolerationSeconds" in toleration and toleration.get("effect") != "NoExecute":
        raise ValueError(f"{at}.tolerationSeconds needs effect: NoExecute")


def affinity(given: object) -> dict[str, Any]:
    """Affinity in Kubernetes' spelling.

    Raises:
        ValueError: Kubernetes would refuse it; the message names the place.
    """
    made: dict[str, Any] = conform(given, AFFINITY, "affinity")
    node = made.get("nodeAffinity", {})
    required = node.get(_REQUIRED)
    if required is not None and not required["nodeSelectorTerms"]:
        raise ValueError(f"affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms is empty")
    _preferences(node.get(_PREFERRED, []), f"affinity.nodeAffinity.{_PREFERRED}")
    for kind in ("podAffinity", "podAntiAffinity"):
        pod = made.get(kind, {})
        terms = [
            *pod.get(_REQUIRED, []),
            *(term["podAffinityTerm"] for term in pod.get(_PREFERRED, [])),
        ]
        for term in terms:
            if not term["topologyKey"]:
                raise ValueError(
                    f"affinity.{kind}: a topologyKey is empty; name a label of the nodes, such as "
                    "kubernetes.io/hostname"
                )
            names.label_key(term["topologyKey"])
        _preferences(pod.get(_PREFERRED, []), f"affinity.{kind}.{_PREFERRED}")
    _expressions(made, "affinity")
    return made


def _preferences(terms: list[dict[str, Any]], at: str) -> None:
    for index, term in enumerate(terms):
        if not 1 <= term["weight"] <= _MOST_WEIGHT:
            raise ValueError(f"{at}[{index}].weight is {term['weight']}: 1 to {_MOST_WEIGHT}")


def _expressions(value: Any, at: str) -> None:
    """Each ``{key, operator, values}`` below a place: values where the operator takes them."""
    if isinstance(value, list):
        for index, entry in enumerate(cast("list[Any]", value)):
            _expressions(entry, f"{at}[{index}]")
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if "operator" in fields:
            _expression(fields, at)
        for field, entry in fields.items():
            _expressions(entry, f"{at}.{field}")


def _expression(expression: Mapping[str, Any], at: str) -> None:
    operator, values = expression["operator"], expression.get("values", [])
    if operator in ("Exists", "DoesNotExist"):
        if values:
            raise ValueError(f"{at}.values: operator {operator} takes none: remove them")
    elif not values:
        raise ValueError(f"{at}.values: operator {operator} needs at least one")
    elif operator in ("Gt", "Lt") and (len(values) != 1 or not values[0].lstrip("-").isdigit()):
        raise ValueError(f"{at}.values: operator {operator} takes one whole number, as a text")
