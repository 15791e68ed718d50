"""Who changed what: the API server's own audit log, of the kinds that steps make themselves.

Belongs here: what is written down, and reading it. Starting the server: control_plane.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_POLICY, _LOG = "audit-policy.yaml", "audit.log"
_GROUPS = ("trainer.kubeflow.org",)
_VERBS = ["create", "update", "patch", "delete", "deletecollection"]
_POD_NAME = "authentication.kubernetes.io/pod-name"


@dataclass(frozen=True)
class Asked:
    """A change that was asked for."""

    verb: str
    name: str
    user: str
    """A service account is ``system:serviceaccount:NAMESPACE:NAME``."""
    pod: str | None
    """To which the caller's token was given; None where it was given to no pod."""
    status: int
    body: dict[str, Any]
    """What was sent, as the server understood it."""


def audit_flags(folder: Path) -> list[str]:
    """Arguments of the API server, with which it writes its log into a folder."""
    changes = {"level": "Request", "verbs": _VERBS, "resources": [{"group": g} for g in _GROUPS]}
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [changes, {"level": "None"}],
    }
    (folder / _POLICY).write_text(json.dumps(policy))
    return [f"--audit-policy-file={folder / _POLICY}", f"--audit-log-path={folder / _LOG}"]


def asked(folder: Path, resource: str, namespace: str) -> list[Asked]:
    """The changes to the objects of a resource in a namespace, in their order."""
    log = folder / _LOG
    events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [
        Asked(
            verb=event["verb"],
            name=about.get("name", ""),
            user=event["user"]["username"],
            pod=next(iter(event["user"].get("extra", {}).get(_POD_NAME, [])), None),
            status=event["responseStatus"]["code"],
            body=event.get("requestObject", {}),
        )
        for event in events
        if (about := event.get("objectRef", {})).get("resource") == resource
        and about.get("namespace") == namespace
    ]
