"""What the requests of the store are signed over, and what guards the rest."""

# ruff: noqa: PLR0917 - fixtures
from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from resources.store import objects as objects_module
from resources.store import upload as upload_module
from resources.store.objects import Bucket
from resources.store.s3_client import connect

PART = 5 << 20  # the smallest that S3 takes
UNSIGNED = "UNSIGNED-PAYLOAD"


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A file of two parts."""
    monkeypatch.setattr(upload_module, "PART", PART)
    monkeypatch.setattr(objects_module, "PART", PART)
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(2 * PART))
    return path


@pytest.fixture
def on_sending(monkeypatch):
    """Has a function called with each request just before it is sent."""

    def register(look) -> None:
        def watched(service):
            clients = connect(service)
            for client in (clients.objects, clients.parts):
                client.meta.events.register("before-send.s3", lambda request, **_: look(request))
            return clients

        monkeypatch.setattr(objects_module, "connect", watched)

    return register


@pytest.fixture
def signed_over(on_sending) -> dict[str, str]:
    """What each request with content says that its signature covers, by part or by key."""
    said: dict[str, str] = {}

    def look(request) -> None:
        url = urlsplit(request.url)
        if request.method == "PUT":
            part = parse_qs(url.query).get("partNumber", [Path(url.path).name])[0]
            said[part] = request.headers["X-Amz-Content-SHA256"].decode()

    on_sending(look)
    return said


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_manifest_is_signed_and_the_parts_of_a_large_file_are_not(
    s3_environment, bucket, weights, signed_over
):
    objects = Bucket(bucket, s3_environment.endpoint_url, "")
    objects.upload(weights, "model.bin", sha256(weights.read_bytes()))
    objects.create("manifest.json", b"{}")
    assert signed_over == {"1": UNSIGNED, "2": UNSIGNED, "manifest.json": sha256(b"{}")}


def test_parts_are_signed_where_awss_configuration_asks_for_it(
    s3_environment, bucket, weights, signed_over, tmp_path, monkeypatch
):
    (tmp_path / "config").write_text("[default]\ns3 =\n    payload_signing_enabled = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    content = weights.read_bytes()
    Bucket(bucket, s3_environment.endpoint_url, "").upload(weights, "model.bin", sha256(content))
    assert signed_over == {"1": sha256(content[:PART]), "2": sha256(content[PART:])}


def test_a_part_that_is_damaged_on_its_way_is_refused(
    s3_environment, bucket, weights, on_sending, s3_client
):
    def damage(request) -> None:
        if "partNumber=2" in request.url:
            request.body = bytes(PART)

    on_sending(damage)
    objects = Bucket(bucket, s3_environment.endpoint_url, "")
    with pytest.raises(ClientError, match="BadDigest"):
        objects.upload(weights, "model.bin", sha256(weights.read_bytes()))
    assert "Contents" not in s3_client.list_objects_v2(Bucket=bucket)
