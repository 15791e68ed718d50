"""A manifest that leaves the house: without the values of the training's environment variables.

``training.env`` may name a proxy with its password or an address inside the network. The names
stay, because they say how the model was made. Does not belong here: which files travel
(``folder.py``).
"""

from __future__ import annotations

import json
from typing import Any

from resources.store.manifest import encode_json

MASK = "(masked)"


def masked(manifest: bytes) -> bytes:
    """The manifest with those values masked; byte by byte as it is where it has none.

    The attestation quotes them too, under a signature that no masked copy can have. So it stays
    behind with them: ``ft verify`` checks it in the store.
    """
    content: dict[str, Any] = json.loads(manifest)
    metadata: dict[str, Any] = content["metadata"]
    provenance: dict[str, Any] = metadata.get("provenance") or {}
    holders: list[dict[str, Any]] = [provenance.get("config") or {}, metadata.get("plan") or {}]
    found: list[dict[str, str]] = [holder["env"] for holder in holders if holder.get("env")]
    if not found:
        return manifest
    for variables in found:
        variables.update(dict.fromkeys(variables, MASK))
    return encode_json({**content, "attestation": None})
