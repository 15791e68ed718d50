"""What the control plane's own sentences mean: why no pod was created, why none was placed.

The API server and the scheduler say it in English only; the patterns are those of Kubernetes'
source (admission plugins, scheduler's FailedScheduling), and an unknown sentence has a cause too.
"""

from __future__ import annotations

import re

from ft_assets.cluster import causes
from ft_assets.cluster.causes import Cause

_QUANTITY = re.compile(r"([0-9.]+)([A-Za-z]*)")
_FACTORS = {
    "": 1.0,
    "m": 1e-3,
    **{unit: 1000.0**power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{unit: 1024.0**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}

_SHORT_OF = (
    ("nvidia.com/gpu", "kubernetes.gpus_per_worker"),
    ("memory", "kubernetes.memory"),
    ("cpu", "kubernetes.cpu"),
)
_NEEDS = (
    ("taint", "kubernetes.tolerations"),
    ("node selector", "kubernetes.node_selector"),
    ("node affinity", "kubernetes.node_selector"),
    ("affinity", "kubernetes.affinity"),
    ("volume", "kubernetes.volumes"),
)
_REFUSALS = (
    ("no PriorityClass", causes.PRIORITY_CLASS_MISSING),
    ("service ?account.*not found", causes.SERVICE_ACCOUNT_MISSING),
    ("failed quota", causes.QUOTA_WANTS_VALUES),
    ("failed calling webhook", causes.POD_NOT_CREATED),
    ("is forbidden|is invalid|denied|violates", causes.POD_REFUSED),
)


def why_not_created(message: str) -> Cause:
    """The cause in a FailedCreate event of the job controller."""
    if "exceeded quota" in message:
        return causes.QUOTA_TOO_SMALL if _beyond_the_whole(message) else causes.QUOTA_EXCEEDED
    for pattern, cause in _REFUSALS:
        if re.search(pattern, message):
            return cause
    return causes.POD_NOT_CREATED


def why_not_placed(message: str) -> tuple[Cause, str]:
    """The cause in a FailedScheduling message, and the remedy for what it says is missing."""
    if re.search(r'persistentvolumeclaim "[^"]*" (not found|is being deleted)', message):
        return causes.CLAIM_MISSING, causes.CLAIM_MISSING.remedy
    ways = [
        f"ask for less with {parameter}"
        for word, parameter in _SHORT_OF
        if re.search(rf"Insufficient {re.escape(word)}", message)
    ]
    ways += [
        f"look at {parameter}"
        for word, parameter in _NEEDS
        if word in message and not (parameter.endswith(".affinity") and "node affinity" in message)
    ]
    if "no nodes available" in message or "0/0 nodes" in message:
        ways.append("the cluster has no node: add one")
    if "unschedulable" in message:
        ways.append("a node is cordoned: `kubectl uncordon` it")
    remedy = causes.UNSCHEDULABLE.remedy
    if ways:
        remedy += f" Or {'; '.join(dict.fromkeys(ways))}."
    return causes.UNSCHEDULABLE, remedy


def is_of_the_registry(message: str) -> bool:
    """Whether a failed pull is the network's or the registry's fault rather than the name's."""
    return bool(
        re.search(
            r"i/o timeout|TLS handshake|connection re(fused|set)|no such host|toomanyrequests|"
            r"Too Many Requests|deadline exceeded|unexpected EOF|50[0234] |Service Unavailable|"
            r"network is unreachable|server misbehaving",
            message,
        )
    )


def _beyond_the_whole(message: str) -> bool:
    """Whether the request alone is more than the quota: waiting does not help.

    ``exceeded quota: q, requested: requests.nvidia.com/gpu=8, used: ...=0, limited: ...=4``.
    """
    requested, limited = _amounts(message, "requested"), _amounts(message, "limited")
    return any(
        amount > limited[resource] for resource, amount in requested.items() if resource in limited
    )


def _amounts(message: str, word: str) -> dict[str, float]:
    part = re.search(rf"{word}: (.*?)(?:, (?:used|limited): |$)", message)
    found: dict[str, float] = {}
    for entry in part[1].split(",") if part else ():
        resource, _, text = entry.partition("=")
        quantity = _QUANTITY.match(text)
        if quantity and quantity[2] in _FACTORS:
            found[resource.strip()] = float(quantity[1]) * _FACTORS[quantity[2]]
    return found
