"""What an HTTP server promises about the bytes of a whole file, and whether it kept it.

Read are ``Repr-Digest`` (RFC 9530), its forerunners ``Digest`` and ``Content-MD5``, Google's
``x-goog-hash``, and the ETag of Amazon's S3, which is an MD5 unless the object was uploaded in
parts or is encrypted with a key of its own. Most servers promise nothing: then there is the length.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

import httpx

_NAMES = {"sha-256": "sha256", "md5": "md5"}
_BYTES = {"sha256": 32, "md5": 16}
_MD5_ETAG = re.compile(r'"([0-9a-f]{32})"')


class Checksums:
    """The digests of a file while it arrives, beside those that were promised."""

    def __init__(self, promised: dict[str, bytes] | None = None) -> None:
        self._promised = promised or {}
        self._sha256: Any = hashlib.sha256()
        self._md5: Any = hashlib.md5(usedforsecurity=False) if "md5" in self._promised else None

    def update(self, block: bytes) -> None:
        """Count the next bytes in."""
        self._sha256.update(block)
        if self._md5 is not None:
            self._md5.update(block)

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes so far, in hexadecimal."""
        return self._sha256.hexdigest()

    def broken(self) -> str | None:
        """The name of a digest that differs from the promised one; None when each is kept."""
        arrived = {"sha256": self._sha256, "md5": self._md5}
        for name, digest in self._promised.items():
            if arrived[name].digest() != digest:
                return name.upper()
        return None


def promised(headers: httpx.Headers) -> dict[str, bytes]:
    """The digests of the whole file that the headers of a whole answer (200) name."""
    found: dict[str, bytes] = {}
    for header in ("Digest", "Repr-Digest"):
        found |= _listed(headers.get(header, ""))
    if headers.get("x-goog-stored-content-encoding") == "identity":  # else of the packed bytes
        found |= _listed(headers.get("x-goog-hash", ""))
    if (md5 := _decoded("md5", headers.get("Content-MD5", ""))) is not None:
        found["md5"] = md5
    if (etag := _amazon_md5(headers)) is not None:
        found["md5"] = etag
    return found


def _listed(header: str) -> dict[str, bytes]:
    """``sha-256=:BASE64:, md5=BASE64``: the digests of a header that can be checked here."""
    found: dict[str, bytes] = {}
    for item in header.split(","):
        name, _, value = item.strip().partition("=")
        kind = _NAMES.get(name.lower())
        if kind is not None and (digest := _decoded(kind, value.strip(":"))) is not None:
            found[kind] = digest
    return found


def _decoded(kind: str, value: str) -> bytes | None:
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    return digest if len(digest) == _BYTES[kind] else None


def _amazon_md5(headers: httpx.Headers) -> bytes | None:
    match = _MD5_ETAG.fullmatch(headers.get("ETag", ""))
    own_key = "kms" in headers.get("x-amz-server-side-encryption", "") or (
        "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    if match is None or "x-amz-request-id" not in headers or own_key:
        return None
    return bytes.fromhex(match.group(1))
