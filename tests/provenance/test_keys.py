"""Keys are read before any work begins; each that is no use is refused by name, with the remedy."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ft_assets.provenance.keys import signing_key, verify_key
from resources.errors import UserError
from tests.provenance.conftest import make_keys

PEM = (Encoding.PEM, PrivateFormat.PKCS8)


def test_without_a_key_nothing_is_signed(monkeypatch):
    monkeypatch.delenv("FT_SIGNING_KEY", raising=False)
    monkeypatch.delenv("FT_VERIFY_KEY", raising=False)
    assert signing_key() is None
    assert verify_key() is None


def test_a_pair_of_keys_is_read(tmp_path, monkeypatch):
    keys = make_keys(tmp_path)
    monkeypatch.setenv("FT_SIGNING_KEY", str(keys.private))
    monkeypatch.setenv("FT_VERIFY_KEY", str(keys.public))
    private, public = signing_key(), verify_key()
    assert private is not None
    assert public is not None
    assert private.key.public_key() == public.key
    assert "PRIVATE" not in repr(private)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .No such file or directory.: name the PEM file"),
        (b"rubbish", "holds no PEM private key: make one with: openssl"),
        (
            rsa.generate_private_key(65537, 2048).private_bytes(*PEM, NoEncryption()),
            "is no key of the curve P-256",
        ),
        (
            ec.generate_private_key(ec.SECP384R1()).private_bytes(*PEM, NoEncryption()),
            "is no key of the curve P-256",
        ),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                *PEM, BestAvailableEncryption(b"secret")
            ),
            "is protected by a password",
        ),
    ],
    ids=["missing", "rubbish", "rsa", "another curve", "password"],
)
def test_a_key_that_is_no_use_is_refused(tmp_path, monkeypatch, content, message):
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("FT_SIGNING_KEY", str(file))
    with pytest.raises(UserError, match=f"FT_SIGNING_KEY.*{message}"):
        signing_key()


def test_a_private_key_is_no_verify_key(tmp_path):
    with pytest.raises(UserError, match="holds no PEM public key: write it with: openssl"):
        verify_key(str(make_keys(tmp_path).private))
