"""Datasets over HTTP: against a local server that answers as it is told."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import logging
import ssl
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.sources import https
from resources.sources.address import Access
from resources.sources.files import Fetched, SizeLimit, SourceUnavailableError
from resources.sources.uri import HttpsUri

BODY = b'{"messages": []}\n' * 5000
HERE = ipaddress.ip_address("127.0.0.1")
ONLY_HERE = Access(address=lambda address: address == HERE, loopback_http=True)


@dataclass
class Answer:
    """What the server says once."""

    body: bytes = BODY
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    hold: threading.Event | None = None
    """After those bytes, send nothing more until it is set."""


@dataclass
class Server:
    """A local server; the last answer is given again and again."""

    port: int
    scheme: str = "http"
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    requests: list[tuple[str, dict[str, str]]] = field(
        default_factory=list[tuple[str, dict[str, str]]]
    )

    def url(self, path: str = "/rows.jsonl", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


class Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        state.requests.append((self.path, dict(self.headers)))
        answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
        self.send_response_only(answer.status)
        if "Date" not in answer.headers:
            self.send_header("Date", self.date_time_string())
        for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
            if value:  # an empty Content-Length: say none
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])
        if answer.hold is not None:
            self.wfile.flush()
            answer.hold.wait()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def serve(context: ssl.SSLContext | None = None) -> Generator[Server]:
    class OwnHandler(Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), OwnHandler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state = OwnHandler.server_state = Server(server.server_port, "https" if context else "http")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server() -> Generator[Server]:
    yield from serve()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def into(tmp_path: Path) -> Generator[Path]:
    folder = tmp_path / "into"
    folder.mkdir()
    yield folder
    assert not list(folder.glob(".*")), "a half-written file was left behind"


def read(
    url: str,
    into: Path,
    waits: list[float] | None = None,
    access: Access = ONLY_HERE,
    max_bytes: int = 0,
) -> Fetched:
    sleep = [].append if waits is None else waits.append
    return https.fetch(HttpsUri(url, "rows.jsonl"), into, SizeLimit(max_bytes), access, sleep)


def test_a_file_is_downloaded_with_its_digest(server: Server, into: Path):
    server.answers = [Answer(headers={"ETag": '"v1"'})]
    fetched = read(server.url("/rows.jsonl?sig=secret"), into)
    (file,) = fetched.files
    assert file.path == into / "rows.jsonl"
    assert file.path.read_bytes() == BODY
    assert (file.size, file.etag) == (len(BODY), '"v1"')
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    assert fetched.uri == server.url("/rows.jsonl")


def test_the_server_sees_the_name_of_the_host(server: Server, into: Path):
    both = Access(address=lambda address: address.is_loopback, loopback_http=True)
    read(server.url(host="localhost"), into, access=both)
    assert server.requests[0][1]["Host"] == f"localhost:{server.port}"


def test_the_address_that_was_judged_is_the_one_connected_to(
    server: Server, into: Path, monkeypatch: pytest.MonkeyPatch
):
    """A name that changes its address between the judgement and the connection (DNS rebinding)."""
    import socket

    real, answers = socket.getaddrinfo, ["127.0.0.1", "127.0.0.2"]

    def changing(host: str, *args: object, **kwargs: object) -> object:
        return real(answers.pop(0) if host == "localhost" else host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("socket.getaddrinfo", changing)
    read(server.url(host="localhost"), into)
    assert answers == ["127.0.0.2"], "the name was looked up a second time"


def test_a_private_address_is_refused(server: Server, into: Path):
    with pytest.raises(UserError, match=r"127\.0\.0\.1, which is not public"):
        read(server.url(), into, access=Access(loopback_http=True))
    assert server.requests == []


def test_redirects_are_followed(server: Server, into: Path):
    server.answers = [Answer(b"", 302, {"Location": "/real.jsonl"}), Answer()]
    read(server.url(), into)
    assert [path for path, _ in server.requests] == ["/rows.jsonl", "/real.jsonl"]


@pytest.mark.parametrize("host", ["127.0.0.2", "169.254.169.254", "10.0.0.1", "[::1]"])
def test_a_redirect_to_a_private_address_is_refused(server: Server, into: Path, host: str):
    server.answers = [Answer(b"", 302, {"Location": f"https://{host}/latest/meta-data"})]
    with pytest.raises(UserError, match="which is not public"):
        read(server.url(), into)
    assert len(server.requests) == 1


def test_a_redirect_to_plain_http_is_refused(server: Server, into: Path):
    server.answers = [Answer(b"", 302, {"Location": "http://example.com/rows.jsonl"})]
    with pytest.raises(UserError, match="http:// is refused"):
        read(server.url(), into)


def test_an_endless_redirect_is_refused(server: Server, into: Path):
    server.answers = [Answer(b"", 302, {"Location": "/rows.jsonl"})]
    with pytest.raises(UserError, match="more than 5 redirects"):
        read(server.url(), into)
    assert len(server.requests) == 6


@pytest.mark.parametrize("headers", [{}, {"Location": "https://"}])
def test_a_redirect_to_nowhere_is_refused(server: Server, into: Path, headers: dict[str, str]):
    server.answers = [Answer(b"", 302, headers)]
    with pytest.raises(UserError, match="redirects to"):
        read(server.url(), into)


@pytest.mark.parametrize(
    ("status", "message"), [(404, "no such file"), (403, "may have expired"), (418, "answered 418")]
)
def test_a_refusal_is_not_tried_again(server: Server, into: Path, status: int, message: str):
    server.answers = [Answer(b"", status)]
    with pytest.raises(UserError, match=message):
        read(server.url(), into)
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again_after_a_growing_wait(
    server: Server, into: Path, waits: list[float]
):
    server.answers = [
        Answer(b"", 503),
        Answer(b"", 429, {"Retry-After": "7"}),
        Answer(b"", 500),
        Answer(b"", 429, {"Retry-After": "86400"}),
        Answer(),
    ]
    read(server.url(), into, waits)
    assert 0.5 <= waits[0] <= 1.0
    assert waits[1] == 7.0
    assert 2.0 <= waits[2] <= 4.0
    assert waits[3] == 60.0


def test_a_server_that_stays_busy_is_given_up(server: Server, into: Path, waits: list[float]):
    server.answers = [Answer(b"", 503)]
    with pytest.raises(SourceUnavailableError, match="after 5 attempts: the server answered 503"):
        read(server.url("/rows.jsonl?sig=secret"), into, waits)
    assert len(waits) == 4


def test_a_broken_download_is_resumed(server: Server, into: Path):
    etag = {"ETag": '"v1"'}
    rest = {"Content-Range": f"bytes 4000-{len(BODY) - 1}/{len(BODY)}"}
    server.answers = [
        Answer(headers=etag, cut=4000),
        Answer(BODY[4000:], 206, etag | rest),
    ]
    (file,) = read(server.url(), into).files
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    resumed = server.requests[1][1]
    assert (resumed["Range"], resumed["If-Range"]) == ("bytes=4000-", '"v1"')


def test_a_file_that_changed_meanwhile_is_read_from_the_start(server: Server, into: Path):
    new = BODY.upper()
    server.answers = [
        Answer(headers={"ETag": '"v1"'}, cut=4000),
        Answer(new, headers={"ETag": '"v2"'}),
    ]
    (file,) = read(server.url(), into).files
    assert file.path.read_bytes() == new
    assert file.etag == '"v2"'


def test_a_partial_answer_of_another_version_is_not_appended(server: Server, into: Path):
    """A server that ignores If-Range and sends the end of the new version."""
    new = BODY.upper()
    rest = {"Content-Range": f"bytes 4000-{len(new) - 1}/{len(new)}"}
    server.answers = [
        Answer(headers={"ETag": '"v1"'}, cut=4000),
        Answer(new[4000:], 206, {"ETag": '"v2"'} | rest),
        Answer(new, headers={"ETag": '"v2"'}),
    ]
    (file,) = read(server.url(), into).files
    assert file.path.read_bytes() == new
    assert "Range" not in server.requests[2][1]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"v1"'}])
def test_without_a_strong_etag_a_broken_download_starts_again(
    server: Server, into: Path, headers: dict[str, str]
):
    server.answers = [Answer(headers=headers, cut=4000), Answer(headers=headers)]
    (file,) = read(server.url(), into).files
    assert file.path.read_bytes() == BODY
    assert "Range" not in server.requests[1][1]


LONG_AGO = {
    "Last-Modified": "Sat, 01 Nov 2025 10:00:00 GMT",
    "Date": "Sat, 01 Nov 2025 12:00:00 GMT",
}


def test_a_time_long_ago_serves_as_a_version_too(server: Server, into: Path):
    rest = {"Content-Range": f"bytes 4000-{len(BODY) - 1}/{len(BODY)}"}
    server.answers = [Answer(headers=LONG_AGO, cut=4000), Answer(BODY[4000:], 206, LONG_AGO | rest)]
    (file,) = read(server.url(), into).files
    assert file.path.read_bytes() == BODY
    assert (file.etag, file.modified) == (None, LONG_AGO["Last-Modified"])
    assert server.requests[1][1]["If-Range"] == LONG_AGO["Last-Modified"]


@pytest.mark.parametrize(
    "headers",
    [
        LONG_AGO | {"Date": "Sat, 01 Nov 2025 10:00:30 GMT"},
        LONG_AGO | {"Date": "soon"},
        LONG_AGO | {"ETag": 'W/"v1"'},
    ],
)
def test_a_time_that_may_hide_a_change_is_no_version(
    server: Server, into: Path, headers: dict[str, str]
):
    server.answers = [Answer(headers=headers, cut=4000), Answer(headers=headers)]
    assert read(server.url(), into).files[0].path.read_bytes() == BODY
    assert "Range" not in server.requests[1][1]


def test_a_rest_of_another_size_is_not_appended(server: Server, into: Path):
    """The same ETag, but the file grew: a server whose ETag does not tell."""
    etag, new = {"ETag": '"v1"'}, BODY * 2
    rest = {"Content-Range": f"bytes 4000-{len(new) - 1}/{len(new)}"}
    server.answers = [
        Answer(headers=etag, cut=4000),
        Answer(new[4000:], 206, etag | rest),
        Answer(new, headers=etag),
    ]
    assert read(server.url(), into).files[0].path.read_bytes() == new


def test_a_file_that_became_shorter_is_read_from_the_start(server: Server, into: Path):
    etag = {"ETag": '"v1"'}
    server.answers = [
        Answer(headers=etag, cut=4000),
        Answer(b"", 416, {"Content-Range": "bytes */17"}),
        Answer(BODY[:17], headers={"ETag": '"v2"'}),
    ]
    assert read(server.url(), into).files[0].path.read_bytes() == BODY[:17]
    assert "Range" not in server.requests[2][1]


def test_a_download_that_goes_on_after_each_break_is_not_given_up(
    server: Server, into: Path, waits: list[float]
):
    etag, starts = {"ETag": '"v1"'}, range(0, 9000, 1000)
    server.answers = [
        Answer(
            BODY[start:],
            206 if start else 200,
            etag | {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"},
            cut=1000 if start < starts[-1] else None,
        )
        for start in starts
    ]
    assert read(server.url(), into, waits).files[0].path.read_bytes() == BODY
    assert max(waits) <= 1.0


def test_a_body_that_stops_coming_names_the_host(server: Server, into: Path):
    released = threading.Event()
    server.answers = [Answer(cut=4000, hold=released)]
    with pytest.raises(
        SourceUnavailableError, match=r"127\.0\.0\.1 sent nothing for 0\.05 seconds"
    ):
        https.fetch(
            HttpsUri(server.url(), "rows.jsonl"),
            into,
            SizeLimit(0),
            ONLY_HERE,
            lambda _: None,
            read_timeout=0.05,
        )
    released.set()


NO_MD5 = f'"{"0" * 32}"'


def named(algorithm: str, body: bytes = BODY) -> str:
    return base64.b64encode(hashlib.new(algorithm, body).digest()).decode()


@pytest.mark.parametrize(
    "header",
    [
        lambda body: {"Repr-Digest": f"sha-512=:AAAA:, sha-256=:{named('sha256', body)}:"},
        lambda body: {"Digest": f"SHA-256={named('sha256', body)}"},
        lambda body: {"Content-MD5": named("md5", body)},
        lambda body: {
            "x-goog-hash": f"crc32c=AAAA,md5={named('md5', body)}",
            "x-goog-stored-content-encoding": "identity",
        },
        lambda body: {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "x-amz-request-id": "1"},
    ],
)
def test_a_promised_digest_is_checked(
    server: Server, into: Path, header: Callable[[bytes], dict[str, str]]
):
    server.answers = [Answer(BODY.upper(), headers=header(BODY)), Answer(headers=header(BODY))]
    assert read(server.url(), into).files[0].path.read_bytes() == BODY
    server.answers = [Answer(BODY.upper(), headers=header(BODY))]
    with pytest.raises(SourceUnavailableError, match=r"other bytes arrived than the (SHA256|MD5)"):
        read(server.url(), into)


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": NO_MD5},  # not Amazon's: any server may write such a one
        {"ETag": f'"{"0" * 32}-7"', "x-amz-request-id": "1"},
        {"ETag": NO_MD5, "x-amz-request-id": "1", "x-amz-server-side-encryption": "aws:kms"},
        {"Content-MD5": "not base64!"},
        {"Repr-Digest": "sha-256=:AAAA:"},
    ],
)
def test_what_is_no_digest_is_not_compared(server: Server, into: Path, headers: dict[str, str]):
    server.answers = [Answer(headers=headers)]
    assert read(server.url(), into).files[0].path.read_bytes() == BODY


def test_a_body_that_is_always_cut_is_never_a_dataset(server: Server, into: Path):
    server.answers = [Answer(cut=4000)]
    with pytest.raises(SourceUnavailableError, match=r"connection to 127\.0\.0\.1 broke"):
        read(server.url(), into)
    assert list(into.iterdir()) == []


def test_a_web_page_is_not_a_dataset(server: Server, into: Path):
    server.answers = [Answer(b"<html>", headers={"Content-Type": "text/html; charset=utf-8"})]
    with pytest.raises(UserError, match="web page instead of a file"):
        read(server.url(), into)


def test_a_body_packed_for_the_transfer_is_refused(server: Server, into: Path):
    server.answers = [Answer(headers={"Content-Encoding": "gzip"})]
    with pytest.raises(UserError, match="packed with gzip"):
        read(server.url(), into)
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": ""}])
def test_a_file_above_the_limit_is_refused(server: Server, into: Path, headers: dict[str, str]):
    server.answers = [Answer(headers=headers)]
    with pytest.raises(UserError, match="limit of 1000 bytes"):
        read(server.url(), into, max_bytes=1000)


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_read(server: Server, into: Path):
    server.answers = [Answer(headers={"Content-Length": str(10**18)})]
    with pytest.raises(UserError, match=r"^http://.*/rows\.jsonl: its .* MB do not fit into"):
        read(server.url(), into)
    assert not list(into.iterdir())
    assert len(server.requests) == 1


def test_nothing_secret_is_said_or_logged(
    server: Server, into: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    server.answers = [Answer(b"", 404)]
    with pytest.raises(UserError) as caught:
        read(server.url("/rows.jsonl?sig=secret"), into)
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for the name localhost, with its key, in one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return pem


@pytest.fixture
def tls_server(certificate: Path) -> Generator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    yield from serve(context)


LOOPBACK = Access(address=lambda address: address.is_loopback)


def test_a_trusted_certificate_is_checked_against_the_name(
    tls_server: Server, certificate: Path, into: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert len(read(tls_server.url(host="localhost"), into, access=LOOPBACK).files) == 1
    with pytest.raises(UserError, match=r"certificate of 127\.0\.0\.1 is not trusted"):
        read(tls_server.url(host="127.0.0.1"), into, access=LOOPBACK)


def test_an_untrusted_certificate_is_refused(tls_server: Server, into: Path):
    with pytest.raises(UserError, match=r"certificate of localhost is not trusted.*SSL_CERT"):
        read(tls_server.url(host="localhost"), into, access=LOOPBACK)
