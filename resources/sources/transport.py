"""Connecting to the very address that was checked.

A name that is checked and then looked up again can answer differently the second time (DNS
rebinding). So the name is looked up once, every address is judged, and the connection goes to one
of them, while TLS and the Host header keep the name.
"""

from __future__ import annotations

import httpx

from resources.sources.address import Access


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
