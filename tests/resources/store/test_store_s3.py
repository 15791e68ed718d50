"""An artifact store in a bucket of a real S3 server: layout, cache, uploads and refusals."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from blake3 import blake3

from resources.errors import UserError
from resources.store import ArtifactStore, file_digests
from resources.store.manifest import encode_manifest, sha256_of
from resources.store.names import MANIFEST
from resources.store.objects import Bucket

KEY = ["demo", "model"]
PREFIX = "team/artifacts/demo/model/_"


def publish(store: ArtifactStore, text: str, **metadata):
    with store.publish(KEY, None, metadata=metadata) as draft:
        (draft.path / "model.bin").write_text(text)
    return draft.artifact


def objects(s3_client, bucket: str) -> dict[str, str]:
    """Key and ETag of every object."""
    page = s3_client.list_objects_v2(Bucket=bucket)
    return {item["Key"]: item["LastModified"] for item in page.get("Contents", [])}


def publish_as_an_older_release(monkeypatch, store: ArtifactStore, text: str):
    """Publish with a manifest that has no BLAKE3."""
    with monkeypatch.context() as older:
        older.setattr(file_digests, "digests_of", lambda path: (sha256_of(path), None))
        return publish(store, text)


@pytest.fixture
def other_machine(s3_store, tmp_path) -> ArtifactStore:
    """The same store, seen with an empty cache."""
    settings = s3_store.model_dump() | {"cache_dir": str(tmp_path / "other-cache")}
    return ArtifactStore(**settings)


def test_the_layout_is_that_of_a_folder(s3_store, s3_client, bucket):
    artifact = publish(s3_store, "weights")

    version = f"{PREFIX}/versions/{artifact.digest}"
    assert set(objects(s3_client, bucket)) == {
        f"{PREFIX}/current.json",
        f"{version}/manifest.json",
        f"{version}/files/model.bin",
    }
    assert artifact.uri == f"s3://{bucket}/{version}/files"
    pointer = s3_client.get_object(Bucket=bucket, Key=f"{PREFIX}/current.json")["Body"].read()
    assert json.loads(pointer) == {"digest": artifact.digest}


def test_the_publisher_has_its_artifact_without_a_download(s3_store, s3_client, bucket):
    artifact = publish(s3_store, "weights")
    for key in objects(s3_client, bucket):
        s3_client.delete_object(Bucket=bucket, Key=key)
    assert artifact.file("model.bin").read_text() == "weights"


def test_another_machine_downloads_once(s3_store, other_machine, s3_client, bucket):
    publish(s3_store, "weights")

    artifact = other_machine.open(KEY, None)
    assert not Path(other_machine.cache_dir).exists(), "opening alone downloads nothing"
    first = artifact.path
    s3_client.delete_object(Bucket=bucket, Key=artifact.uri.split("/", 3)[3] + "/model.bin")

    assert other_machine.open(KEY, None).path == first
    assert artifact.file("model.bin").read_text() == "weights"


def test_a_cached_file_that_went_missing_is_downloaded_again(s3_store):
    artifact = publish(s3_store, "weights")
    artifact.file("model.bin").unlink()
    assert artifact.file("model.bin").read_text() == "weights"


def test_a_cached_folder_that_was_removed_is_downloaded_again(s3_store):
    artifact = publish(s3_store, "weights")
    shutil.rmtree(s3_store.cache_dir)
    assert artifact.file("model.bin").read_text() == "weights"


@pytest.mark.parametrize("broken", ["config.json", "model/0.bin", "model/1.bin"])
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_download_that_is_not_what_was_published_is_refused(
    s3_store, other_machine, s3_client, broken, damage
):
    names = ["config.json", "model/0.bin", "model/1.bin"]
    with s3_store.publish(KEY, "drop-1") as draft:
        (draft.path / "model").mkdir()
        for name in names:
            (draft.path / name).write_text("weights")
    artifact = draft.artifact
    _, _, bucket, files = artifact.uri.split("/", 3)
    place = {"Bucket": bucket, "Key": f"{files}/{broken}"}
    if damage == "flip":
        s3_client.put_object(**place, Body=b"Weights")
        found, published = (blake3(text).hexdigest() for text in (b"Weights", b"weights"))
        problem = f"(blake3 {found}, published {published})"
    else:
        s3_client.delete_object(**place)
        problem = "(there is no such object, published "

    message = f"{artifact.uri}/{broken} is missing or not what was published {problem}"
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        _ = other_machine.open(KEY, "drop-1").path
    assert str(refused.value).endswith("materialize demo/model, partition drop-1 again")
    assert not list(Path(other_machine.cache_dir).glob(f"**/{broken}"))
    assert s3_store.verify(artifact) == [broken]


def test_what_an_older_release_published_is_compared_with_its_sha256(
    s3_store, other_machine, s3_client, bucket, monkeypatch
):
    older = publish_as_an_older_release(monkeypatch, s3_store, "weights")
    there = s3_client.get_object(Bucket=bucket, Key=f"{PREFIX}/versions/{older.digest}/{MANIFEST}")

    assert other_machine.open(KEY, None).file("model.bin").read_text() == "weights"
    [copy] = Path(other_machine.cache_dir).glob(f"**/{MANIFEST}")
    assert copy.read_bytes() == there["Body"].read(), "as it was stated, and perhaps signed"
    assert "blake3" not in copy.read_text()

    shutil.rmtree(other_machine.cache_dir)
    key = older.uri.split("/", 3)[3] + "/model.bin"
    s3_client.put_object(Bucket=bucket, Key=key, Body=b"Weights")
    with pytest.raises(UserError, match=r"\(sha256 [0-9a-f]{64}, published [0-9a-f]{64}\)"):
        _ = other_machine.open(KEY, None).path


def test_other_bytes_never_go_by_the_digest_of_what_was_published(
    s3_store, other_machine, s3_client, bucket
):
    artifact = publish(s3_store, "weights")
    version = f"{PREFIX}/versions/{artifact.digest}"
    manifest = json.loads(encode_manifest(artifact.manifest))
    manifest["files"][0]["blake3"] = blake3(b"Weights").hexdigest()
    s3_client.put_object(Bucket=bucket, Key=f"{version}/files/model.bin", Body=b"Weights")
    s3_client.put_object(
        Bucket=bucket, Key=f"{version}/{MANIFEST}", Body=json.dumps(manifest).encode()
    )

    with pytest.raises(UserError, match="is damaged"):
        _ = other_machine.open(KEY, None).path
    publish(s3_store, "weights")
    assert other_machine.open(KEY, None).file("model.bin").read_text() == "weights"


def test_verifying_reads_the_cached_copy_too(s3_store):
    artifact = publish(s3_store, "weights")
    cached = artifact.file("model.bin")
    cached.write_text("Weights")
    assert s3_store.verify(artifact) == [str(cached)]


def test_what_is_there_already_is_not_uploaded_again(s3_store, s3_client, bucket):
    publish(s3_store, "weights", run="a")
    before = objects(s3_client, bucket)
    publish(s3_store, "weights", run="a")
    after = objects(s3_client, bucket)

    changed = {key.rpartition("/")[2] for key in after if after[key] != before[key]}
    assert changed <= {"current.json"}


def test_a_large_file_is_uploaded_in_parts_and_comes_back_whole(s3_store, other_machine):
    with s3_store.publish(KEY, None) as draft, (draft.path / "model.bin").open("wb") as file:
        for number in range(20):
            file.write(bytes([number]) * 1_000_000)

    artifact = other_machine.open(KEY, None)
    assert artifact.file("model.bin").stat().st_size == 20_000_000
    assert other_machine.verify(artifact) == []


def test_a_publisher_killed_before_its_manifest_has_published_nothing(
    s3_store, in_child, s3_client, bucket, monkeypatch
):
    """Its files are uploaded; the next publisher finds and uses them."""

    def dies() -> None:
        import os

        from resources.store.resource import _store_at

        _store_at.cache_clear()  # a child shares no connection with its parent
        monkeypatch.setattr(Bucket, "create", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        publish(s3_store, "weights")

    assert in_child(dies) == -signal.SIGKILL
    uploaded = objects(s3_client, bucket)
    assert [key.rpartition("/")[2] for key in uploaded] == ["model.bin"]
    assert s3_store.find(KEY, None) is None

    publish(s3_store, "weights")
    assert s3_store.open(KEY, None).file("model.bin").read_text() == "weights"
    assert uploaded.items() <= objects(s3_client, bucket).items()


def test_the_cache_of_one_store_is_not_that_of_another(s3_store, s3_client):
    publish(s3_store, "weights")
    other = ArtifactStore(**(s3_store.model_dump() | {"root": f"{s3_store.root}-2"}))
    assert other.find(KEY, None) is None


def test_a_cache_disk_that_is_full_is_the_users_error(s3_store, small_disk):
    with s3_store.publish(KEY, None) as draft:
        (draft.path / "model.bin").write_bytes(b"x" * 3_000_000)
    disk = small_disk("size=1m")
    small = ArtifactStore(**(s3_store.model_dump() | {"cache_dir": str(disk)}))

    with pytest.raises(UserError, match=r"disk full while downloading demo/model.*about 3\.0 MB"):
        _ = small.open(KEY, None).path
    assert not list(disk.glob("**/model.bin*"))


def test_a_bucket_that_does_not_exist_is_the_users_error(s3_store):
    store = ArtifactStore(**(s3_store.model_dump() | {"root": "s3://no-such-bucket/x"}))
    with pytest.raises(UserError, match="there is no bucket no-such-bucket; create it"):
        publish(store, "weights")


def test_a_wrong_secret_is_the_users_error_and_is_not_repeated(s3_store, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    store = ArtifactStore(**(s3_store.model_dump() | {"cache_dir": str(tmp_path / "c")}))
    with pytest.raises(UserError, match="access refused") as error:
        store.find(KEY, None)
    assert "wrong-secret" not in str(error.value)


def test_without_credentials_the_error_names_the_variables(s3_store, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = ArtifactStore(**(s3_store.model_dump() | {"cache_dir": str(tmp_path / "d")}))
    with pytest.raises(UserError, match="AWS_ACCESS_KEY_ID"):
        store.find(KEY, None)
