"""An upload that breaks off: what is there is not sent again, and nothing is left for ever."""

# ruff: noqa: PLR0917 - fixtures
from __future__ import annotations

import hashlib
import os
import signal
from datetime import timedelta

import pytest

from resources.store import ArtifactStore
from resources.store import objects as objects_module
from resources.store import upload as upload_module
from resources.store.objects import Bucket
from resources.store.resource import _store_at

KEY = ["demo", "model"]
PART = 5 << 20  # the smallest that S3 takes
PARTS = 5


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(upload_module, "PART", PART)
    monkeypatch.setattr(objects_module, "PART", PART)
    monkeypatch.setattr(upload_module, "THREADS", 1)  # in order, so that the test can count


@pytest.fixture
def weights() -> bytes:
    return b"".join(bytes([number]) * PART for number in range(PARTS))


@pytest.fixture
def requests(monkeypatch):
    """The names of the requests that this process makes, with the number of the part."""
    made = []
    original = upload_module.put_in_parts

    def watched(client, *arguments):
        client.meta.events.register(
            "before-parameter-build.s3",
            lambda params, model, **_: made.append((model.name, params.get("PartNumber"))),
        )
        return original(client, *arguments)

    monkeypatch.setattr(objects_module, "put_in_parts", watched)
    return made


def publish(store: ArtifactStore, content: bytes):
    with store.publish(KEY, None) as draft:
        (draft.path / "model.bin").write_bytes(content)
    return draft.artifact


def unfinished(s3_client, bucket) -> list[str]:
    return [
        item["Key"] for item in s3_client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    ]


@pytest.fixture
def killed_amid(s3_store, in_child, monkeypatch, weights):
    """A publisher that is killed before it sends part four of five."""

    def dies() -> None:
        _store_at.cache_clear()  # a child shares no connection with its parent
        original = upload_module._Upload._bring

        def bring(self, descriptor, there, number):
            if number == PARTS - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, descriptor, there, number)

        monkeypatch.setattr(upload_module._Upload, "_bring", bring)
        publish(s3_store, weights)

    assert in_child(dies) == -signal.SIGKILL


def test_a_killed_upload_goes_on_with_what_is_missing(
    killed_amid, s3_store, s3_client, bucket, requests, weights
):
    (begun,) = unfinished(s3_client, bucket)
    assert begun.endswith("/model.bin")
    assert s3_store.find(KEY, None) is None

    publish(s3_store, weights)
    assert [part for name, part in requests if name == "UploadPart"] == [PARTS - 1, PARTS]
    assert "CreateMultipartUpload" not in [name for name, _ in requests]
    assert unfinished(s3_client, bucket) == []
    artifact = s3_store.open(KEY, None)
    assert s3_store.verify(artifact) == []
    stored = s3_client.head_object(Bucket=bucket, Key=begun)
    assert stored["Metadata"]["sha256"] == hashlib.sha256(weights).hexdigest()


def test_a_part_that_is_not_what_the_file_says_is_sent_again(
    killed_amid, s3_store, s3_client, bucket, requests, weights
):
    (upload,) = s3_client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    s3_client.upload_part(
        Bucket=bucket,
        Key=upload["Key"],
        UploadId=upload["UploadId"],
        PartNumber=PARTS - 1,
        Body=b"x" * PART,
    )
    publish(s3_store, weights)
    assert [part for name, part in requests if name == "UploadPart"] == [PARTS - 1, PARTS]
    assert s3_store.verify(s3_store.open(KEY, None)) == []


def test_what_another_version_left_unfinished_is_ended_when_it_is_old(
    killed_amid, s3_store, s3_client, bucket, monkeypatch
):
    publish(s3_store, b"another version")
    assert len(unfinished(s3_client, bucket)) == 1, "its publisher may be on another host"

    monkeypatch.setattr("resources.store.s3._ABANDONED", timedelta(microseconds=1))
    publish(s3_store, b"a third version")
    assert unfinished(s3_client, bucket) == []


def test_a_second_upload_of_the_same_file_is_ended_with_its_publication(
    killed_amid, s3_store, s3_client, bucket, weights
):
    (upload,) = s3_client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    s3_client.create_multipart_upload(Bucket=bucket, Key=upload["Key"])
    publish(s3_store, weights)
    assert unfinished(s3_client, bucket) == []


def test_an_upload_that_another_publisher_completes_is_done(
    s3_store, s3_client, bucket, tmp_path, weights, monkeypatch
):
    file = tmp_path / "model.bin"
    file.write_bytes(weights)
    sha256 = hashlib.sha256(weights).hexdigest()
    place = Bucket(bucket, s3_store.s3_endpoint_url, "")
    other = Bucket(bucket, s3_store.s3_endpoint_url, "")
    original = upload_module._Upload._parts_there

    def parts_there(self):
        monkeypatch.setattr(upload_module._Upload, "_parts_there", original)
        other.upload(file, "x/model.bin", sha256)
        return original(self)

    monkeypatch.setattr(upload_module._Upload, "_parts_there", parts_there)
    place.upload(file, "x/model.bin", sha256)
    assert place.holds("x/model.bin", len(weights), sha256)
    assert unfinished(s3_client, bucket) == []


def test_an_upload_that_changed_on_its_way_is_refused_by_the_server(
    s3_store, bucket, tmp_path, weights, monkeypatch
):
    file = tmp_path / "model.bin"
    file.write_bytes(weights)
    monkeypatch.setattr(upload_module, "_in_base64", lambda _: "AAAAAA==")
    with pytest.raises(Exception, match="BadDigest"):
        Bucket(bucket, s3_store.s3_endpoint_url, "").upload(file, "x", "0" * 64)
