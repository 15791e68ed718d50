"""The keys that statements are signed and verified with: PEM files that the environment names.

Belongs here: reading and refusing them. Does not belong here: what is signed (``envelope.py``,
``model_signature.py``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

SIGNING_KEY = "FT_SIGNING_KEY"
VERIFY_KEY = "FT_VERIFY_KEY"
_CURVE = "secp256r1"
_HOW_TO = "make one with: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
_LIBRARIES = {"model_signing": "model-signing", "OpenSSL": "pyopenssl", "securesystemslib": ""}


@dataclass(frozen=True)
class SigningKey:
    """A private key."""

    path: Path
    key: EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True)
class VerifyKey:
    """A public key."""

    path: Path
    key: EllipticCurvePublicKey


def signing_key() -> SigningKey | None:
    """The key that ``FT_SIGNING_KEY`` names; None where it is not set, and nothing is signed.

    Raises:
        UserError: the file cannot be read, or holds no private key of the curve P-256 without a
            password; or what signs models is not installed.
    """
    given = os.environ.get(SIGNING_KEY)
    if not given:
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path, content = _read(SIGNING_KEY, given)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:  # what the library says of a key with a password
        raise UserError(
            f"{SIGNING_KEY}: {path} is protected by a password: give one without, that only the "
            "pipeline's user can read"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{SIGNING_KEY}: {path} holds no PEM private key: {_HOW_TO}") from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != _CURVE:
        raise UserError(f"{SIGNING_KEY}: {path} is no key of the curve P-256: {_HOW_TO}")
    _require_libraries()
    return SigningKey(path, key)


def verify_key(given: str | None = None) -> VerifyKey | None:
    """The key in the file ``given``, or the one that ``FT_VERIFY_KEY`` names; None without either.

    Raises:
        UserError: the file cannot be read, or holds no public key of the curve P-256.
    """
    given = given or os.environ.get(VERIFY_KEY)
    if not given:
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    how = "write it with: openssl ec -in key.pem -pubout -out key.pub"
    path, content = _read(VERIFY_KEY, given)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{VERIFY_KEY}: {path} holds no PEM public key: {how}") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != _CURVE:
        raise UserError(f"{VERIFY_KEY}: {path} is no key of the curve P-256: {how}")
    _require_libraries()
    return VerifyKey(path, key)


def _read(variable: str, given: str) -> tuple[Path, bytes]:
    path = Path(given).expanduser()
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{variable} names {given!r}, which cannot be read ({error.strerror}): name the PEM "
            "file of the key, or unset it"
        ) from error


def _require_libraries() -> None:
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        names = ", ".join(_LIBRARIES[name] or name for name in missing)
        raise UserError(
            f"a key is configured, but what signs and verifies with it is not installed ({names}): "
            f"install it, or unset {SIGNING_KEY} and {VERIFY_KEY}"
        )
