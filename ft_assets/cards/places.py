"""Where things come from, as strangers may read it: no paths of this machine, no secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from resources.errors import UserError
from resources.sources import redact
from resources.sources.uri import HubUri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOCAL = re.compile(r"(?:~|\.{1,2})?/.*|[A-Za-z]:[\\/].*|file:.*|pvc://.*", re.DOTALL)


def public(place: str) -> str:
    """A URI, or the name alone of what lies on somebody's disk."""
    if _LOCAL.fullmatch(place):
        return place.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or "a local folder"
    return redact(place)


def is_local(place: str) -> bool:
    """Whether a place means something on one machine alone."""
    return _LOCAL.fullmatch(place) is not None


def hub_datasets(raw: Mapping[str, Any] | None) -> list[str]:
    """Ids on the hub of the datasets that a drop was read from."""
    if raw is None:
        return []
    config = raw.get("provenance", {}).get("config", {})
    uris = [raw.get("source", {}).get("uri"), config.get("uri"), config.get("eval_uri")]
    found: list[str] = []
    for uri in uris:
        try:
            parsed = parse_uri(uri) if isinstance(uri, str) else None
        except UserError:  # a place of another kind; the text of the card names it
            continue
        if isinstance(parsed, HubUri):
            found.append(parsed.repo)
    return list(dict.fromkeys(found))


def hub_base_model(plan: Mapping[str, Any]) -> str | None:
    """The base model's id on the hub, if that is where it comes from."""
    base: Mapping[str, Any] = plan["base_model"]
    return str(base["location"]) if base["kind"] == "hub" else None
