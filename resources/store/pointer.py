"""The small object that names the current version of an artifact."""

from __future__ import annotations

import json

from resources.errors import UserError


def encode_pointer(digest: str) -> bytes:
    """The pointer's content."""
    return json.dumps({"digest": digest}).encode()


def decode_pointer(content: bytes, where: str) -> str:
    """The digest that a pointer names; ``where`` names the pointer in messages.

    Raises:
        UserError: it is damaged.
    """
    try:
        digest = json.loads(content)["digest"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"pointer {where} is damaged: materialize the asset again") from error
    return str(digest)
