"""Looking at a file over HTTPS for its version: its headers, not its bytes.

HEAD is asked first; a server that refuses it, as presigned URLs do, or says nothing about the
version in answer to it, is asked with GET, and the connection closed before the body.

A version follows from the ETag alone where there is one: servers that share a load may differ in
what they give as the time. Else it follows from Last-Modified and the size.
"""

from __future__ import annotations

import httpx

from resources.errors import UserError
from resources.sources.address import Access
from resources.sources.drops import DropFiles, DropVersion
from resources.sources.files import SourceUnavailableError
from resources.sources.https import BrokenError, Source, opened, refuse_content, refuse_status
from resources.sources.transport import CheckedTransport
from resources.sources.uri import HttpsUri, redact

READ_TIMEOUT = 20.0
"""Seconds without an answer after which a look is given up: there will be another."""

_GONE = {404, 410}
_NO_HEAD = {400, 401, 403, 405, 501}
"""Answers to HEAD that say nothing about GET."""


def version(uri: HttpsUri, access: Access) -> DropVersion | None:
    """The version of the file; None when the server has none.

    Raises:
        UserError: refused by ``access`` or the server, or the server tells no version.
        SourceUnavailableError: it does not answer.
    """
    what = redact(uri.url)
    try:
        with CheckedTransport(access, what) as transport:
            source = Source(transport, access, uri.url, what, READ_TIMEOUT)
            headers = _headers(source)
    except BrokenError as error:
        raise SourceUnavailableError(f"{what}: {error}: try again later") from error
    return None if headers is None else _version(headers, what)


def _headers(source: Source) -> httpx.Headers | None:
    """What the server says of the file; None when there is no such file."""
    for method in ("HEAD", "GET"):
        with opened(source, method, {}) as response:
            if response.status_code in _GONE:
                return None
            if method == "HEAD" and response.status_code in _NO_HEAD:
                continue
            refuse_status(response, source.what)
            refuse_content(response, source.what)
            if method == "GET" or _tells_version(response.headers):
                return response.headers
    raise AssertionError("an answer to GET is taken or refused")


def _tells_version(headers: httpx.Headers) -> bool:
    return "ETag" in headers or "Last-Modified" in headers


def _version(headers: httpx.Headers, what: str) -> DropVersion | None:
    if not _tells_version(headers):
        raise UserError(
            f"{what}: the server tells neither ETag nor Last-Modified, so that new data cannot be "
            "noticed: use a schedule, or another server"
        )
    length = headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else 0
    found = DropFiles()
    if etag := headers.get("ETag"):
        found.add(size, "etag", etag.removeprefix("W/"))
    else:
        found.add(size, "modified", headers["Last-Modified"], size)
    return found.version()
