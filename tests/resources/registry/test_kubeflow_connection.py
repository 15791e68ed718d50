"""The way to a Model Registry server: address, TLS, token, retries, and what each failure says."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import os
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from certifi import where
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from resources.errors import UserError
from resources.registry.kubeflow import KubeflowRegistry, tls
from resources.registry.kubeflow.address import base_url
from resources.registry.kubeflow.transport import Backoff, Patience, UnsettledError
from resources.registry.port import Registration
from tests.support.model_registry_server import Fault, ModelRegistryServer, model_registry_server

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def server() -> Generator[ModelRegistryServer]:
    with model_registry_server("v1") as running:
        yield running


def registry(server: ModelRegistryServer, **more) -> KubeflowRegistry:
    return KubeflowRegistry(
        address=server.url, **({"retries": 0, "first_pause_seconds": 0.001} | more)
    )


# --- addresses


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("registry.example", "https://registry.example:8080"),
        ("https://registry.example", "https://registry.example:8080"),
        ("https://registry.example:443/base/", "https://registry.example:443/base"),
        ("registry.example:9000", "https://registry.example:9000"),
        ("http://localhost", "http://localhost:8080"),
        ("https://[::1]", "https://[::1]:8080"),
    ],
)
def test_an_address_without_a_scheme_is_https_and_its_own_port_counts_first(address, url):
    assert base_url(address, 8080) == url


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "is no address"),
        ("https://", "is no address"),
        ("a b", "is no address"),
        ("https://host:port", "is no address"),
        ("ftp://host", "scheme ftp:// is not http or https"),
        ("https://host/?token=abc", r"write it without \? and #"),
        ("https://user:abc@host", "holds a user name or a password"),
    ],
)
def test_addresses_that_are_none_are_refused_without_their_secrets(address, reason):
    with pytest.raises(UserError, match=reason) as refused:
        base_url(address, 8080)
    assert "abc" not in str(refused.value)


def test_a_port_is_a_port():
    with pytest.raises(UserError, match=r"registry\.port 70000 is not a port"):
        base_url("host", 70000)


def test_http_is_warned_of_unless_it_stays_on_this_machine(caplog):
    with caplog.at_level(logging.WARNING):
        base_url("http://127.0.0.1", 8080)
        assert not caplog.records
        base_url("http://registry.example", 8080)
    assert "http://registry.example is not encrypted" in caplog.text


# --- versions of the interface


@pytest.mark.parametrize("versions", [("v1",), ("v1alpha3",), ("v1alpha3", "v1")])
def test_the_newest_version_of_the_interface_that_the_server_has_is_used(versions):
    with model_registry_server(*versions) as server:
        assert registry(server).list_models() == []
        newest = "v1" if "v1" in versions else "v1alpha3"
        assert server.requests[-1] == f"GET /api/model_registry/{newest}/registered_models"


def test_a_server_with_neither_version_is_none():
    with (
        model_registry_server("v9") as server,
        pytest.raises(UserError, match=r"neither /api/model_registry/v1 nor .*v1alpha3: check"),
    ):
        registry(server).list_models()


def test_a_page_that_is_no_answer_is_another_server():
    with (
        other_server(b"<html>hello</html>") as url,
        pytest.raises(UserError, match="something else than a Model Registry does: check"),
    ):
        KubeflowRegistry(address=url, retries=0).list_models()


def test_a_redirection_to_a_login_page_is_not_followed():
    with (
        other_server(b"", status=302) as url,
        pytest.raises(UserError, match="answers 302, a redirection that is not followed"),
    ):
        KubeflowRegistry(address=url, retries=0).list_models()


class other_server:  # noqa: N801
    """A server of something else, that answers everything alike."""

    def __init__(self, content: bytes, status: int = 200) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Location", "/login")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


# --- nobody there


def test_a_host_that_does_not_exist_is_said():
    lost = KubeflowRegistry(address="http://registry.invalid", retries=0)
    with pytest.raises(UserError, match=r"no host has this name|no answer"):
        lost.list_models()


def test_a_port_where_nobody_listens_is_tried_and_then_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        silent = KubeflowRegistry(address=address, retries=2, first_pause_seconds=0.001)
        with pytest.raises(UserError, match=r"no answer: .*refused.*\(3 tries\): check"):
            silent.list_models()


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(UserError, match=r"no answer: timed out"):
            KubeflowRegistry(address=address, retries=0, timeout_seconds=0.05).list_models()


def test_a_server_that_says_how_long_to_wait_is_waited_for(server):
    server.faults[1] = Fault("before", "429", retry_after="1")
    waited = registry(server, retries=1, first_pause_seconds=0.0)
    pauses: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.registry.kubeflow.transport.time.sleep", pauses.append)
        assert waited.list_models() == []
    assert pauses == [1.0]


def test_a_server_that_stays_down_is_given_up_with_its_answer(server):
    server.fault_for_all = Fault("before", "500")
    with pytest.raises(UserError, match=r"answers 500 to GET .*told to fail \(3 tries\): check"):
        registry(server, retries=2).list_models()
    assert len(server.requests) == 3


# --- tokens


def test_a_token_comes_from_a_variable_or_a_file(server, tmp_path, monkeypatch):
    server.token = SECRET
    monkeypatch.setenv("REGISTRY_TOKEN", SECRET)
    (tmp_path / "token").write_text(f"{SECRET}\n")
    assert registry(server, token_env="REGISTRY_TOKEN").list_models() == []
    assert registry(server, token_file=str(tmp_path / "token")).list_models() == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, r"refuses the request \(401\): check no token \(name its"),
        ({"token_env": "WRONG"}, r"\(401\): check the environment variable WRONG"),
        ({"token_env": "UNSET"}, "the environment variable UNSET .* is empty or not set"),
        ({"token_file": "/no/such"}, r"the file /no/such \(token_file\) cannot be read: No such"),
        ({"token_env": "WRONG", "token_file": "/x"}, "name token_env or token_file, not both"),
        ({"token_env": "LINES"}, "LINES .* does not hold a token on one line"),
    ],
)
def test_a_token_that_is_not_good_is_named_and_never_shown(server, monkeypatch, fields, reason):
    server.token = SECRET
    monkeypatch.setenv("WRONG", "n0t-it")
    monkeypatch.setenv("LINES", "n0t-it\nn0t-it")
    with pytest.raises(UserError, match=reason) as refused:
        registry(server, **fields).list_models()
    assert "n0t-it" not in str(refused.value)


def test_a_token_file_that_is_replaced_is_read_again(server, tmp_path):
    """As a service account's: a link is turned to a new file, here between two requests."""
    link = tmp_path / "token"
    (tmp_path / "old").write_text(SECRET)
    (tmp_path / "new").write_text("another-token")
    link.symlink_to(tmp_path / "old")
    server.token = SECRET

    def rotate(number: int, when: str) -> None:
        if number == 4 and when == "before":
            server.token = "another-token"
            (tmp_path / "next").symlink_to(tmp_path / "new")
            (tmp_path / "next").replace(link)

    server.on_request = rotate
    registered = registry(server, token_file=str(link)).register(
        Registration(model="demo", digest="d1", uri="s3://m/d1", author="run")
    )
    assert registered.created
    assert len(server.requests) == 22  # one was made again, with the new token


# --- TLS


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and a server's certificate that it signed."""

    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def authorities(tmp_path_factory) -> tuple[Authority, Authority]:
    folder = tmp_path_factory.mktemp("tls")
    return make_authority(folder, "good"), make_authority(folder, "other")


def make_authority(folder: Path, name: str) -> Authority:
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    certificate = (
        _certificate(server_name, ca_name, key.public_key())
        .add_extension(host, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = Authority(*(folder / f"{name}-{part}.pem" for part in ("ca", "cert", "key")))
    files.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )


@pytest.fixture
def tls_server(authorities) -> Generator[ModelRegistryServer]:
    good, _ = authorities
    with model_registry_server("v1", certificate=good.certificate, key=good.key) as server:
        yield server


def test_pauses_double_up_to_the_longest_and_each_is_drawn_below_its_bound(monkeypatch):
    bounds: list[tuple[float, float]] = []
    slept: list[float] = []

    def drawn(low: float, high: float) -> float:
        bounds.append((low, high))
        return high / 2

    monkeypatch.setattr("resources.registry.kubeflow.transport.random.uniform", drawn)
    monkeypatch.setattr("resources.registry.kubeflow.transport.time.sleep", slept.append)
    backoff = Backoff("http://r", Patience(timeout=1, retries=6, first_pause=2))
    for _ in range(6):
        backoff.wait(UnsettledError("503"))
    assert bounds == [(0, 2), (0, 4), (0, 8), (0, 16), (0, 30), (0, 30)]
    assert slept == [1, 2, 4, 8, 15, 15]
    with pytest.raises(UserError, match=r"503 \(7 tries\)"):
        backoff.wait(UnsettledError("503"))


def test_a_server_is_known_by_its_own_authority(tls_server, authorities):
    good, _ = authorities
    assert registry(tls_server, custom_ca=str(good.ca)).list_models() == []


def test_a_server_of_another_authority_is_refused_at_once(tls_server, authorities):
    _, other = authorities
    with pytest.raises(UserError, match=r"TLS failed, custom_ca .*other-ca\.pem did not sign"):
        registry(tls_server, custom_ca=str(other.ca), retries=5).list_models()
    with pytest.raises(UserError, match=r"TLS failed, no authority .*name .* in custom_ca"):
        registry(tls_server, retries=5).list_models()
    assert tls_server.requests == []


def test_an_authority_that_the_environment_names_is_known(tls_server, authorities, monkeypatch):
    good, _ = authorities
    monkeypatch.setenv("SSL_CERT_FILE", str(good.ca))
    assert registry(tls_server).list_models() == []


def test_the_authorities_of_the_system_are_known(monkeypatch):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    context = tls.context_for("https://registry.example.org", "")
    for others in (ssl.create_default_context(), ssl.create_default_context(cafile=where())):
        known = context.get_ca_certs(binary_form=True)
        assert set(others.get_ca_certs(binary_form=True)) <= set(known)


def test_a_certificate_for_another_host_is_refused(tls_server, authorities):
    good, _ = authorities
    address = tls_server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(UserError, match=r"TLS failed, custom_ca .*not for this host"):
        KubeflowRegistry(address=address, custom_ca=str(good.ca), retries=0).list_models()


def test_https_to_a_server_that_speaks_http_is_said(server):
    address = server.url.removeprefix("http://")
    with pytest.raises(UserError, match="does not speak https there: check the port, or write"):
        KubeflowRegistry(address=address, retries=5).list_models()


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), ("no", "no PEM file")])
def test_a_custom_ca_that_is_none_is_refused(tls_server, tmp_path, content, reason):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"custom_ca .*ca.pem cannot be read.*{reason}"):
        registry(tls_server, custom_ca=str(path)).list_models()


def test_the_process_stays_as_it_was(server):
    """The package's wrapper patches asyncio for good and needs a token in the environment."""
    import asyncio

    before = (asyncio.run, asyncio.get_event_loop_policy().__class__, dict(os.environ))
    registry(server).register(Registration(model="m", digest="d", uri="s3://m", author="a"))
    assert (asyncio.run, asyncio.get_event_loop_policy().__class__, dict(os.environ)) == before
