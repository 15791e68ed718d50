"""Which network addresses a URL may lead to.

Belongs here: the judging. Connecting to what was judged: :mod:`~resources.sources.transport`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.errors import UserError
from resources.sources.files import SourceUnavailableError

if TYPE_CHECKING:
    import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet and not a way round to a private one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )


def is_loopback_host(host: str) -> bool:
    """Whether the text of a URL's host names this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """What a URL, and every redirect behind it, may reach."""

    address: Callable[[Address], bool] = is_public
    """Judges every address that a host has."""
    loopback_http: bool = False
    """Whether plain http:// is allowed, to this machine only."""

    def require(self, url: httpx.URL, what: str) -> None:
        """Refuse a scheme that may not be used.

        Raises:
            UserError: plain HTTP to another machine, or something other than HTTP.
        """
        plain = url.scheme == "http" and self.loopback_http and is_loopback_host(url.host)
        if url.scheme != "https" and not plain:
            raise UserError(
                f"{what}: {url.scheme}:// is refused, anyone can read or change it on "
                "the way: use https://"
            )

    def resolve(self, host: str, port: int, what: str) -> list[str]:
        """The addresses of ``host``, each of them allowed.

        Raises:
            UserError: one of them is not allowed.
            SourceUnavailableError: the host has no address.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(
                f"{what}: the host {host} cannot be found: mend the name, or check the network"
            ) from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in addresses:
            if not self.address(ipaddress.ip_address(text)):
                raise UserError(
                    f"{what}: the host {host} has the address {text}, which is not public: use "
                    "a public host, or allow private addresses (allow_private_addresses)"
                )
        return addresses
