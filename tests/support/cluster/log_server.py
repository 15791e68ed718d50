"""The part of a kubelet that `kubectl logs` and read_namespaced_pod_log talk to.

The API server asks it over TLS for ``/containerLogs/NAMESPACE/POD/CONTAINER``. Logs are files whose
lines begin with the time, as container runtimes write them; the time is left out unless asked for.
"""

from __future__ import annotations

import datetime
import ssl
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    Find = Callable[[str, str, str], tuple[Path, Callable[[], bool]] | None]
    """The log of a container, and whether the container still runs; None for an unknown one."""


@contextmanager
def log_server(find: Find, folder: Path) -> Generator[int]:
    """Serve on a free port of 127.0.0.1; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            parts = asked.path.strip("/").split("/")
            found = find(*parts[1:4]) if len(parts) == 4 and parts[0] == "containerLogs" else None
            if found is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            options = {name: values[-1] for name, values in parse_qs(asked.query).items()}
            try:
                for line in _lines(*found, options):
                    self.wfile.write(line)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                pass  # whoever followed the log has gone

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = _tls(folder).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def stamp(line: bytes) -> bytes:
    """A line of output as it stands in a log."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{now}000Z ".encode() + line


def _lines(log: Path, is_running: Callable[[], bool], options: dict[str, str]) -> Iterator[bytes]:
    with_time = options.get("timestamps") == "true"
    with log.open("rb") as file:
        tail = options.get("tailLines")
        for line in file if tail is None else deque(file, maxlen=int(tail)):
            yield line if with_time else line.split(b" ", 1)[1]
        if options.get("follow") == "true":
            for line in _followed(file, is_running):
                yield line if with_time else line.split(b" ", 1)[1]


def _followed(file: BinaryIO, is_running: Callable[[], bool]) -> Iterator[bytes]:
    rest = b""
    while True:
        ended = not is_running()  # before reading: what was written before the end is read
        rest += file.read()
        *whole, rest = rest.split(b"\n")
        yield from (line + b"\n" for line in whole)
        if ended:
            return
        time.sleep(0.1)


def _tls(folder: Path) -> ssl.SSLContext:
    """A certificate of its own: the API server checks none of a kubelet unless told to."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "node.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
