"""Which network addresses a URL may lead to, and connecting to the very address that was checked.

A name that is checked and then looked up again can answer differently the second time (DNS
rebinding). So the name is looked up once, every address is judged, and the connection goes to one
of them, while TLS and the Host header keep the name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from resources.errors import UserError
from resources.sources.files import SourceUnavailableError

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


class CheckedTransport(httpx.HTTPTransport):
    """Sends each request to an address that ``access`` allowed.

    Connections are not kept: one that is open to an address must not serve another name on it.
    """

    def __init__(self, access: Access, what: str) -> None:
        super().__init__(verify=True, limits=httpx.Limits(max_keepalive_connections=0))
        self._access = access
        self._what = what

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Resolve, judge, then connect: the first address that accepts a connection serves it."""
        name = request.url.raw_host.decode("ascii")
        port = request.url.port or {"http": 80, "https": 443}[request.url.scheme]
        addresses = self._access.resolve(name, port, self._what)
        for position, address in enumerate(addresses):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # Host among them
                extensions={**request.extensions, "sni_hostname": name},
            )
            try:
                return super().handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if position == len(addresses) - 1:
                    raise
        raise AssertionError("a host without an address is refused when it is resolved")
