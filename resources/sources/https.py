"""One dataset file over HTTPS: streamed to disk, resumed when the connection breaks.

Requests go through the transport alone, without an HTTP client around it: redirects are followed
by hand, so that each hop is judged, and nothing logs a URL with its query string.

Versions: ETag and Last-Modified as the server says them, size and SHA-256 are recorded. A broken
download is resumed with Range and If-Range on a strong ETag, or on a Last-Modified that was at
least a minute old; without either it starts again. What the server sends then is appended only when
it begins where the break was and belongs to the same ETag, Last-Modified and size; else the file
has changed and is read from its start. The whole is checked against the length and the digests that
the server names (``checksums``).
"""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from resources.errors import UserError
from resources.free_room import refuse_what_does_not_fit
from resources.sources.address import Access
from resources.sources.files import (
    Fetched,
    SizeLimit,
    SourceFile,
    SourceUnavailableError,
    safe_target,
)
from resources.sources.received import Received
from resources.sources.retries import ATTEMPTS, retry_after, wait_before_retry
from resources.sources.transport import CheckedTransport
from resources.sources.uri import HttpsUri, redact

MAX_REDIRECTS = 5
MAX_REQUESTS = 100
"""In all: ``ATTEMPTS`` counts only those in a row that brought nothing new."""
READ_TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_CONNECT_TIMEOUT = 10.0
_OK, _PARTIAL, _NOT_SATISFIABLE, _SERVER_ERROR = 200, 206, 416, 500
_REDIRECTS = {301, 302, 303, 307, 308}
_REMEDIES = {
    401: "the server wants credentials: use a presigned URL",
    403: "access was refused: the URL may have expired, or want credentials",
    404: "there is no such file: mend the URL",
    410: "the file was removed: use another URL",
}


class BrokenError(Exception):
    """This attempt failed, another may succeed."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Source:
    """The URL, its name in messages, and the way to it."""

    transport: CheckedTransport
    access: Access
    url: str
    what: str
    read_timeout: float


def fetch(
    uri: HttpsUri,
    into: Path,
    limit: SizeLimit,
    access: Access | None = None,
    sleep: Callable[[float], None] = time.sleep,
    *,
    read_timeout: float = READ_TIMEOUT,
) -> Fetched:
    """Download the file into the folder ``into``; it appears there when it is complete.

    ``sleep`` is called with the seconds to wait before each further attempt; ``read_timeout`` is in
    seconds.

    Raises:
        UserError: refused by ``access``, by the server, or by the limit; more than fits.
        SourceUnavailableError: broken, busy, silent or truncated at every attempt.
    """
    access = access or Access()
    what = redact(uri.url)
    target = safe_target(into, uri.name, what)
    received = Received(target.with_name(f".{target.name}.part"))
    try:
        with CheckedTransport(access, what) as transport:
            source = Source(transport, access, uri.url, what, read_timeout)
            _with_retries(source, received, limit, sleep)
        limit.add(what, received.size)
        received.part.replace(target)
    finally:
        received.part.unlink(missing_ok=True)
    file = SourceFile(
        name=uri.name,
        path=target,
        size=received.size,
        sha256=received.checksums.sha256,
        etag=received.etag,
        modified=received.modified,
    )
    return Fetched(what, (file,), revision=None)


def _with_retries(
    source: Source, received: Received, limit: SizeLimit, sleep: Callable[[float], None]
) -> None:
    reason, failures = "", 0
    for _ in range(MAX_REQUESTS):
        try:
            with _open(source, received) as response:
                _receive(response, received, limit, source.what)
        except BrokenError as error:
            reason = str(error)
            failures = 1 if received.size > received.most else failures + 1
            received.most = max(received.most, received.size)
            if failures == ATTEMPTS:
                break
            sleep(wait_before_retry(failures, error.wait))
        else:
            return
    raise SourceUnavailableError(
        f"{source.what}: could not be read after {ATTEMPTS} attempts: {reason}: try again later"
    )


def _open(source: Source, received: Received) -> AbstractContextManager[httpx.Response]:
    """The file, or the rest of it where a part has arrived that can be continued."""
    headers: dict[str, str] = {}
    if received.size and received.validator is not None:
        headers = {"Range": f"bytes={received.size}-", "If-Range": received.validator}
    return opened(source, "GET", headers)


@contextmanager
def opened(source: Source, method: str, headers: Mapping[str, str]) -> Generator[httpx.Response]:
    """The answer behind all redirects, each judged like the first URL; closed at the end.

    Raises:
        UserError: refused by ``access``, or the redirects lead nowhere.
        BrokenError: the connection failed.
    """
    what = source.what
    headers = {"Accept-Encoding": "identity", "User-Agent": "ft-assets", **headers}
    timeout = httpx.Timeout(source.read_timeout, connect=_CONNECT_TIMEOUT).as_dict()
    hop = httpx.URL(source.url)
    for _ in range(MAX_REDIRECTS + 1):
        source.access.require(hop, what)
        request = httpx.Request(method, hop, headers=headers, extensions={"timeout": timeout})
        with _as_broken(source, hop):
            response = source.transport.handle_request(request)
        try:
            if response.status_code not in _REDIRECTS:
                with _as_broken(source, hop):
                    yield response
                return
            hop = _next_hop(hop, response, what)
        finally:
            response.close()
    raise UserError(f"{what}: more than {MAX_REDIRECTS} redirects: use the URL they lead to")


def _next_hop(hop: httpx.URL, response: httpx.Response, what: str) -> httpx.URL:
    try:
        location = hop.join(response.headers["Location"])
    except (KeyError, httpx.InvalidURL):  # whose text repeats the URL
        raise UserError(f"{what}: the server redirects to no valid URL: use another URL") from None
    if not location.host:
        raise UserError(f"{what}: the server redirects to a URL without a host: use another URL")
    return location.copy_with(userinfo=b"", fragment=None)


@contextmanager
def _as_broken(source: Source, hop: httpx.URL) -> Generator[None]:
    """Failures of the connection in words, without the library's own, which may repeat headers."""
    try:
        yield
    except (httpx.ReadTimeout, httpx.WriteTimeout):
        raise BrokenError(f"{hop.host} sent nothing for {source.read_timeout:g} seconds") from None
    except httpx.ConnectTimeout:
        raise BrokenError(
            f"{hop.host} did not accept a connection in {_CONNECT_TIMEOUT:g} seconds"
        ) from None
    except httpx.TransportError as error:
        root = _root(error)
        if isinstance(root, ssl.SSLCertVerificationError):
            raise UserError(
                f"{source.what}: the certificate of {hop.host} is not trusted "
                f"({root.verify_message}): mend the server, or name your authority's certificate "
                "in SSL_CERT_FILE"
            ) from None
        number = root.errno if isinstance(root, OSError) else None
        kind = errno.errorcode.get(number or 0, type(error).__name__)
        raise BrokenError(f"the connection to {hop.host} broke ({kind})") from None


def _root(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _receive(response: httpx.Response, received: Received, limit: SizeLimit, what: str) -> None:
    """Write the body behind what has arrived, or from the start when it is another content."""
    if response.status_code == _NOT_SATISFIABLE:
        received.restart()  # the file is shorter now than what has arrived of it
    refuse_status(response, what)
    refuse_content(response, what)
    if response.status_code == _PARTIAL:
        start, total = _content_range(response, what)
        if not received.continues(response.headers, start, total):
            received.restart()  # the next attempt reads from the start
            raise BrokenError("the file changed while it was read")
        received.total = total
    else:
        received.restart(response.headers)
    if received.total is not None:
        limit.require(what, received.total)
        refuse_what_does_not_fit(what, received.total - received.size, received.part.parent)
    with received.part.open("ab") as stream:
        for chunk in response.iter_raw():  # as they come: a break loses nothing that arrived
            limit.require(what, received.size + len(chunk))
            received.append(chunk, stream)
    if received.total is not None and received.size != received.total:
        raise BrokenError(f"truncated at {received.size} of {received.total} bytes")
    if (name := received.checksums.broken()) is not None:
        received.restart()
        raise BrokenError(f"other bytes arrived than the {name} that the server names")


def refuse_status(response: httpx.Response, what: str) -> None:
    """Raise BrokenError for a passing failure of the server, UserError for a lasting one."""
    status = response.status_code
    if status in {_OK, _PARTIAL}:
        return
    if status in {408, _NOT_SATISFIABLE, 425, 429} or status >= _SERVER_ERROR:
        wait = retry_after(response.headers.get("Retry-After", ""))
        raise BrokenError(f"the server answered {status}", wait)
    remedy = _REMEDIES.get(status, "mend the URL")
    raise UserError(f"{what}: the server answered {status}: {remedy}")


def refuse_content(response: httpx.Response, what: str) -> None:
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
