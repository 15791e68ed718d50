"""Where a Model Registry server is, from what the configuration says.

Belongs here: reading and refusing addresses. Does not belong here: connecting (``transport.py``).
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from resources.errors import UserError

_LOG = logging.getLogger(__name__)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HIGHEST_PORT = 65535


def base_url(address: str, port: int) -> str:
    """The server's URL without a slash at the end.

    An address without a scheme means https. Plain http is used only where the address says so, with
    a warning unless the server is on this machine. ``port`` counts where the address has none.

    Raises:
        UserError: the address is empty, no URL, of another scheme, or holds a password or a query.
    """
    written = address.strip()
    parts = urlsplit(written if "://" in written else f"https://{written}")
    try:
        host, own_port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, half a bracket: never echo what may be a secret
        host, own_port = None, None
    if parts.username is not None or parts.password is not None:
        raise UserError(
            "registry.address holds a user name or a password: write the address alone, and name "
            "the token's environment variable or file"
        )
    if not host or any(char.isspace() for char in written):
        raise UserError(
            f"registry.address {_shown(written)!r} is no address: write https://host or "
            "https://host:port"
        )
    if parts.scheme not in ("http", "https"):
        raise UserError(f"registry.address: the scheme {parts.scheme}:// is not http or https")
    if parts.query or parts.fragment:
        raise UserError(f"registry.address {_shown(written)!r}: write it without ? and #")
    if not 1 <= (own_port or port) <= _HIGHEST_PORT:
        raise UserError(f"registry.port {port} is not a port: write a number from 1 to 65535")
    if parts.scheme == "http" and host not in _LOOPBACK:
        _LOG.warning(
            "registry.address http://%s is not encrypted: anyone on the way can read the token and "
            "change what is registered; use https:// where the server has it",
            host,
        )
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}:{own_port or port}{parts.path.rstrip('/')}"


def _shown(address: str) -> str:
    """The address as far as a message may show it: no query, which may be a secret."""
    return address.partition("?")[0].partition("#")[0]
