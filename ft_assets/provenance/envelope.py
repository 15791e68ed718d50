"""The envelope that a statement travels in: DSSE, with a signature where a key is configured.

Belongs here: sealing and opening. Does not belong here: what is stated (``statement.py``).
"""

from __future__ import annotations

# securesystemslib's types are incomplete.
# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false
import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ft_assets.provenance.statement import encode

if TYPE_CHECKING:
    from ft_assets.provenance.keys import SigningKey, VerifyKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class BadEnvelopeError(ValueError):
    """An envelope that is no envelope, or that is signed by another key or about other bytes."""


def seal(statement: Mapping[str, Any], key: SigningKey | None) -> dict[str, Any]:
    """The envelope around a statement; without a key it has no signature."""
    payload = encode(statement)
    if key is None:
        encoded = base64.b64encode(payload).decode()
        return {"payload": encoded, "payloadType": PAYLOAD_TYPE, "signatures": []}
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(key.key))
    return cast("dict[str, Any]", envelope.to_dict())


def statement_in(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """The statement in an envelope, whose signature is not looked at.

    Raises:
        BadEnvelopeError: it holds none, or not exactly as ``seal`` writes it.
    """
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        statement = json.loads(payload)
        exact = base64.b64encode(payload).decode() == envelope["payload"]
        whole = set(envelope) == {"payload", "payloadType", "signatures"}
        if not exact or not whole or encode(statement) != payload:
            raise BadEnvelopeError("the envelope is not written as it was sealed")
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise BadEnvelopeError(f"the envelope's type is {envelope['payloadType']!r}")
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadEnvelopeError):
            raise
        raise BadEnvelopeError("the envelope holds no readable statement") from error
    return statement


def is_signed(envelope: Mapping[str, Any]) -> bool:
    """Whether it has a signature, by whatever key."""
    return bool(envelope.get("signatures"))


def verify(envelope: Mapping[str, Any], key: VerifyKey) -> None:
    """Verify that ``key`` has signed it.

    Raises:
        BadEnvelopeError: it has not.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import FormatError, VerificationError
    from securesystemslib.signer import SSlibKey

    known = SSlibKey.from_crypto(key.key)
    try:
        # A copy: reading changes what it reads.
        read = Envelope.from_dict(json.loads(json.dumps(envelope)))
        read.verify([known], threshold=1)
        exact = read.to_dict() == dict(envelope)
    except (VerificationError, FormatError, KeyError, TypeError, ValueError) as error:
        raise BadEnvelopeError(f"no valid signature by {key.path}") from error
    if not exact:
        raise BadEnvelopeError("the signature is not written as it was sealed")
