"""One dataset file over HTTPS: streamed to disk, resumed when the connection breaks.

Requests go through the transport alone, without an HTTP client around it: redirects are followed
by hand, so that each hop is judged, and nothing logs a URL with its query string.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from resources.errors import UserError
from resources.sources.address import Access, CheckedTransport
from resources.sources.files import (
    Fetched,
    SizeLimit,
    SourceFile,
    SourceUnavailableError,
    safe_target,
)
from resources.sources.uri import HttpsUri, redact

ATTEMPTS = 5
MAX_REDIRECTS = 5
MAX_WAIT = 60.0
"""Seconds between two attempts, at most, whatever the server asks for."""

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_OK, _PARTIAL, _SERVER_ERROR = 200, 206, 500
_REDIRECTS = {301, 302, 303, 307, 308}
_REMEDIES = {
    401: "the server wants credentials: use a presigned URL",
    403: "access was refused: the URL may have expired, or want credentials",
    404: "there is no such file: mend the URL",
    410: "the file was removed: use another URL",
}


class _BrokenError(Exception):
    """This attempt failed, another may succeed."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class _Source:
    """The URL, its name in messages, and the way to it."""

    transport: CheckedTransport
    access: Access
    url: str
    what: str


@dataclass
class _Received:
    """What has arrived of the file, over all attempts."""

    part: Path
    size: int = 0
    etag: str | None = None
    sha256: Any = field(default_factory=hashlib.sha256)

    def restart(self, etag: str | None) -> None:
        self.part.write_bytes(b"")
        self.size, self.etag, self.sha256 = 0, etag, hashlib.sha256()

    @property
    def can_resume(self) -> bool:
        """Only a strong ETag says that the bytes before and after the break belong together."""
        return self.size > 0 and self.etag is not None and not self.etag.startswith("W/")


def fetch(
    uri: HttpsUri,
    into: Path,
    limit: SizeLimit,
    access: Access | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Download the file into the folder ``into``; it appears there when it is complete.

    ``sleep`` is called with the seconds to wait before each further attempt.

    Raises:
        UserError: refused by ``access``, by the server, or by the limit.
        SourceUnavailableError: broken, busy or truncated at every attempt.
    """
    access = access or Access()
    what = redact(uri.url)
    target = safe_target(into, uri.name, what)
    received = _Received(target.with_name(f".{target.name}.part"))
    try:
        with CheckedTransport(access, what) as transport:
            source = _Source(transport, access, uri.url, what)
            _with_retries(source, received, limit, sleep)
        limit.add(what, received.size)
        received.part.replace(target)
    finally:
        received.part.unlink(missing_ok=True)
    file = SourceFile(uri.name, target, received.size, received.sha256.hexdigest(), received.etag)
    return Fetched(what, (file,), revision=None)


def _with_retries(
    source: _Source, received: _Received, limit: SizeLimit, sleep: Callable[[float], None]
) -> None:
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            with _open(source, received) as response:
                _receive(response, received, limit, source.what)
        except _BrokenError as error:
            reason = str(error)
            if attempt < ATTEMPTS - 1:
                sleep(min(MAX_WAIT, max(error.wait, 2.0**attempt)))
        else:
            return
    raise SourceUnavailableError(
        f"{source.what}: could not be read after {ATTEMPTS} attempts: {reason}: try again later"
    )


@contextmanager
def _open(source: _Source, received: _Received) -> Generator[httpx.Response]:
    """The answer behind all redirects, each judged like the first URL; closed at the end."""
    what = source.what
    headers = {"Accept-Encoding": "identity", "User-Agent": "ft-assets"}
    if received.can_resume and received.etag is not None:
        headers |= {"Range": f"bytes={received.size}-", "If-Range": received.etag}
    hop = httpx.URL(source.url)
    for _ in range(MAX_REDIRECTS + 1):
        source.access.require(hop, what)
        request = httpx.Request(
            "GET", hop, headers=headers, extensions={"timeout": _TIMEOUT.as_dict()}
        )
        with _as_broken(what):
            response = source.transport.handle_request(request)
        try:
            if response.status_code not in _REDIRECTS:
                with _as_broken(what):
                    yield response
                return
            hop = _next_hop(hop, response, what)
        finally:
            response.close()
    raise UserError(f"{what}: more than {MAX_REDIRECTS} redirects: use the URL they lead to")


def _next_hop(hop: httpx.URL, response: httpx.Response, what: str) -> httpx.URL:
    try:
        location = hop.join(response.headers["Location"])
    except (KeyError, httpx.InvalidURL) as error:
        raise UserError(f"{what}: the server redirects to no valid URL: use another URL") from error
    if not location.host:
        raise UserError(f"{what}: the server redirects to a URL without a host: use another URL")
    return location.copy_with(userinfo=b"", fragment=None)


@contextmanager
def _as_broken(what: str) -> Generator[None]:
    try:
        yield
    except httpx.TransportError as error:
        if isinstance(_root(error), ssl.SSLCertVerificationError):
            raise UserError(
                f"{what}: the server's certificate is not trusted ({_root(error)}): mend the "
                "server, or name your authority's certificate in SSL_CERT_FILE"
            ) from error
        raise _BrokenError(f"the connection broke ({type(error).__name__}: {error})") from error


def _root(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _receive(response: httpx.Response, received: _Received, limit: SizeLimit, what: str) -> None:
    """Write the body behind what has arrived, or from the start when it is another content."""
    _refuse_status(response, what)
    _refuse_content(response, what)
    etag = response.headers.get("ETag")
    if response.status_code == _PARTIAL:
        start, total = _content_range(response, what)
        if not received.can_resume or start != received.size or etag != received.etag:
            received.restart(etag=None)  # the next attempt reads from the start
            raise _BrokenError("the file changed while it was read")
    else:
        received.restart(etag)
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    if total is not None:
        limit.require(what, total)
    with received.part.open("ab") as stream:
        for chunk in response.iter_raw():  # as they come: a break loses nothing that arrived
            limit.require(what, received.size + len(chunk))
            stream.write(chunk)
            received.sha256.update(chunk)
            received.size += len(chunk)
    if total is not None and received.size != total:
        raise _BrokenError(f"truncated at {received.size} of {total} bytes")


def _refuse_status(response: httpx.Response, what: str) -> None:
    status = response.status_code
    if status in {_OK, _PARTIAL}:
        return
    if status in {408, 416, 425, 429} or status >= _SERVER_ERROR:
        wait = response.headers.get("Retry-After", "")
        raise _BrokenError(f"the server answered {status}", float(wait) if wait.isdigit() else 0.0)
    remedy = _REMEDIES.get(status, "mend the URL")
    raise UserError(f"{what}: the server answered {status}: {remedy}")


def _refuse_content(response: httpx.Response, what: str) -> None:
    """A web page is a login or an error; a body packed for the transfer is not the file's bytes."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(
            f"{what}: the server answered with a web page instead of a file: use the URL of the "
            "file itself; it may want a login"
        )
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity" and not what.lower().endswith((".gz", ".zst")):
        raise UserError(
            f"{what}: the server sends the file packed with {packed} although it was asked not "
            "to: use a URL that serves the file as it is"
        )


def _content_range(response: httpx.Response, what: str) -> tuple[int, int | None]:
    """First byte and full size of a partial answer: ``bytes 10-99/100``."""
    text = response.headers.get("Content-Range", "")
    span, _, total = text.removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    if not text.startswith("bytes ") or not start.isdigit():
        raise UserError(f"{what}: the server resumes with a wrong Content-Range: use another URL")
    return int(start), int(total) if total.isdigit() else None
