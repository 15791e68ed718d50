"""Which authorities a Model Registry server's certificate is verified by."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi

from resources.errors import UserError


def context_for(url: str, custom_ca: str) -> ssl.SSLContext:
    """Certificates are verified always; by the custom authority alone where one is named.

    Raises:
        UserError: the file with the authority cannot be read.
    """
    if url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused: spare loading the authorities
    if not custom_ca:
        return _known_authorities()
    path = Path(custom_ca).expanduser()
    try:
        return ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError) else "it is no PEM file"
        raise UserError(
            f"registry: custom_ca {path} cannot be read as certificates: {reason}"
        ) from error


def _known_authorities() -> ssl.SSLContext:
    """The system's, and certifi's, since a slim image has none of its own.

    SSL_CERT_FILE and SSL_CERT_DIR name others in their place, which OpenSSL sees to.
    """
    context = ssl.create_default_context()
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        context.load_verify_locations(certifi.where())
    return context
