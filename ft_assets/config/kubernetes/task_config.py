"""A Kubeflow Pipelines ``TaskConfig`` as the parameters of the ``kubernetes`` block.

Belongs here: which part of it is which parameter. Whether a value is valid is said where the
parameter is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ft_assets.config.kubernetes.quantity import parse_quantity
from ft_assets.config.kubernetes.shapes import MAP, Shape
from ft_assets.config.kubernetes.structure import conform

_LIST: Shape = [{"*": object}]
_SHAPE: Shape = {
    "affinity": {"*": object},
    "env": _LIST,
    "nodeSelector": MAP,
    "resources": {"limits": {"*": object}, "requests": {"*": object}},
    "serviceAccount": str,
    "serviceAccountName": str,
    "tolerations": _LIST,
    "volumeMounts": _LIST,
    "volumes": _LIST,
}
_PARAMETER = {
    "affinity": "affinity",
    "env": "env",
    "nodeSelector": "node_selector",
    "serviceAccount": "service_account",
    "serviceAccountName": "service_account",
    "tolerations": "tolerations",
    "volumeMounts": "volume_mounts",
    "volumes": "volumes",
}


def parameters_of(task_config: object, gpu_resource: str) -> dict[str, Any]:
    """The parameters that a TaskConfig sets.

    Args:
        task_config: its fields, in Kubernetes' spelling or in Python's.
        gpu_resource: the name under which GPUs are asked for.

    Raises:
        ValueError: it has a part that no parameter takes, or requests and limits disagree.
    """
    fields: dict[str, Any] = conform(task_config, _SHAPE, "task_config")
    resources = fields.pop("resources", {})
    made = {_PARAMETER[field]: value for field, value in fields.items()}
    return made | _resources(resources, gpu_resource)


def _resources(resources: Mapping[str, Mapping[str, object]], gpu: str) -> dict[str, Any]:
    requests = {name: str(value) for name, value in resources.get("requests", {}).items()}
    limits = {name: str(value) for name, value in resources.get("limits", {}).items()}
    made: dict[str, Any] = {}
    extended: dict[str, int] = {}
    for name in dict.fromkeys([*requests, *limits]):
        if "/" in name:
            count = _whole(name, requests, limits)
            if name == gpu:
                made["gpus_per_worker"] = count
            else:
                extended[name] = count
        elif name == "ephemeral-storage":
            made["ephemeral_storage"] = _one(name, requests, limits)
        elif name in ("cpu", "memory"):
            # Kubernetes requests what is limited where nothing is requested.
            made[name] = requests.get(name, limits.get(name))
            if name in limits:
                made[f"{name}_limit"] = limits[name]
        else:
            raise ValueError(
                f"task_config.resources has {name!r}: there are cpu, memory, ephemeral-storage and "
                "extended resources (DOMAIN/NAME)"
            )
    return made | ({"extended_resources": extended} if extended else {})


def _one(name: str, requests: Mapping[str, str], limits: Mapping[str, str]) -> str:
    """What is requested and limited alike."""
    request = requests.get(name, limits.get(name, ""))
    if limits.get(name, request) != request:
        raise ValueError(
            f"task_config.resources asks for {request} of {name} and limits it to {limits[name]}: "
            "give one number"
        )
    return request


def _whole(name: str, requests: Mapping[str, str], limits: Mapping[str, str]) -> int:
    text = _one(name, requests, limits)
    try:
        count = parse_quantity(text)
    except ValueError as error:
        raise ValueError(f"task_config.resources.{name} {error}") from None
    if count.denominator != 1:
        raise ValueError(f"task_config.resources.{name} is {text!r}: devices are whole numbers")
    return int(count)


def spread(values: dict[str, Any], defaults: Mapping[str, object]) -> dict[str, Any]:
    """The values of a block, with those of its ``task_config`` in their places.

    Args:
        values: as they were given; ``task_config`` among them, or not.
        defaults: of the block's parameters.

    Raises:
        ValueError: a parameter is given beside it, with another value.
    """
    given = values.get("task_config")
    if not given:
        return values
    gpu = cast("str", values.get("gpu_resource", defaults["gpu_resource"]))
    made: dict[str, Any] = {**values, "task_config": {}}
    for name, value in parameters_of(given, gpu).items():
        beside = values.get(name)
        if name in values and beside not in (None, value, defaults[name]):
            raise ValueError(
                f"{name} is given, and task_config says something else of it: keep one of them"
            )
        made[name] = value
    return made
