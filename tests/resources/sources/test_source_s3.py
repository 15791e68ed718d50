"""Datasets on S3, against a real server."""

from __future__ import annotations

import gzip
import hashlib
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from resources.errors import UserError
from resources.sources import s3
from resources.sources.files import Fetched, SizeLimit, SourceUnavailableError
from resources.sources.uri import S3Uri
from tests.support.seaweedfs import SeaweedFS

ROW = b'{"messages": []}\n'
LARGE = 9 << 20  # above the size from which an object is read in parts


@pytest.fixture
def bucket(s3_client: Any) -> str:
    name = f"sources-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def put(s3_client: Any, bucket: str) -> Any:
    def put(key: str, body: bytes = ROW) -> str:
        return s3_client.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]

    return put


def read(client: Any, bucket: str, key: str, into: Path, max_bytes: int = 0) -> Fetched:
    return s3.fetch(client, S3Uri(bucket, key), into, SizeLimit(max_bytes))


def test_a_key_is_one_file(s3_client: Any, bucket: str, put: Any, tmp_path: Path):
    etag = put("drops/a.jsonl")
    put("drops/a.jsonl.gz")
    fetched = read(s3_client, bucket, "drops/a.jsonl", tmp_path)
    (file,) = fetched.files
    assert (file.name, file.size, file.etag) == ("a.jsonl", len(ROW), etag)
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert fetched.uri == f"s3://{bucket}/drops/a.jsonl"


def test_a_prefix_is_every_dataset_file_below_it(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    packed = gzip.compress(ROW)
    for key in (
        "d1/b.jsonl.gz",
        "d1/a.parquet",
        "d1/deep/c.json.zst",
        "d1/README.md",
        "d10/x.jsonl",
    ):
        put(key, packed)
    for key in ("d1", "d1/"):
        fetched = read(s3_client, bucket, key, tmp_path / key.strip("/"))
        assert [f.name for f in fetched.files] == ["a.parquet", "b.jsonl.gz", "deep/c.json.zst"]
        assert {f.path.read_bytes() for f in fetched.files} == {packed}


def test_a_listing_of_several_pages_is_read_whole(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    for number in range(5):
        put(f"many/{number}.jsonl")
    s3_client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 2}
    )
    assert len(read(s3_client, bucket, "many/", tmp_path).files) == 5


def test_a_large_object_arrives_whole(s3_client: Any, bucket: str, put: Any, tmp_path: Path):
    body = ROW * (LARGE // len(ROW))
    put("large.jsonl", body)
    (file,) = read(s3_client, bucket, "large.jsonl", tmp_path).files
    assert file.sha256 == hashlib.sha256(body).hexdigest()


class Overwriter:
    """Another program that writes the object again, at the same size, just before it is read."""

    def __init__(self, client: Any, put: Any, times: int) -> None:
        self.put, self.times = put, times
        client.meta.events.register("before-call.s3.GetObject", self.before)

    def before(self, **_: Any) -> None:
        if self.times:
            self.times -= 1
            self.put("a.jsonl", b"%d" % self.times + ROW[1:])


def test_an_object_that_changes_is_read_again(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    old = put("a.jsonl")
    Overwriter(s3_client, put, times=1)
    (file,) = read(s3_client, bucket, "a.jsonl", tmp_path).files
    assert file.path.read_bytes() == b"0" + ROW[1:]
    assert file.etag != old


def test_an_object_that_keeps_changing_is_refused(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    put("a.jsonl")
    Overwriter(s3_client, put, times=2)
    with pytest.raises(SourceUnavailableError, match="changes while it is read"):
        read(s3_client, bucket, "a.jsonl", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["none/", "none", "none/a.jsonl"])
def test_nothing_there_says_so(s3_client: Any, bucket: str, key: str, tmp_path: Path):
    with pytest.raises(UserError, match="holds no dataset file"):
        read(s3_client, bucket, key, tmp_path)


def test_a_missing_bucket_says_so(s3_client: Any, tmp_path: Path):
    with pytest.raises(UserError, match="no such bucket"):
        read(s3_client, "no-such-bucket", "d/", tmp_path)


def test_an_unknown_file_type_is_refused(s3_client: Any, bucket: str, put: Any, tmp_path: Path):
    put("a.csv")
    with pytest.raises(UserError, match="unknown file type"):
        read(s3_client, bucket, "a.csv", tmp_path)


def test_a_dataset_above_the_limit_is_refused_before_it_is_read(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    put("d/a.jsonl")
    put("d/b.jsonl")
    with pytest.raises(UserError, match="limit"):
        read(s3_client, bucket, "d/", tmp_path, max_bytes=len(ROW))
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_would_leave_the_folder_is_refused(tmp_path: Path):
    from resources.sources.files import safe_target

    for name in ("../a.jsonl", "/a.jsonl", "a//b.jsonl", "a/./b.jsonl", "..\\a.jsonl"):
        with pytest.raises(UserError, match="cannot be stored safely"):
            safe_target(tmp_path, name, "s3://b/x")


@pytest.mark.parametrize(
    ("variable", "message"),
    [("AWS_SECRET_ACCESS_KEY", "secret key is wrong"), ("AWS_ACCESS_KEY_ID", "access key")],
)
def test_wrong_credentials_are_refused_with_the_remedy(
    s3_env: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, message: str
):
    monkeypatch.setenv(variable, "wrong")
    client = s3.connect(s3_env.endpoint_url)
    with pytest.raises(UserError, match=message):
        read(client, "bucket", "d/", tmp_path)
    with pytest.raises(UserError, match="credentials"):  # HEAD tells no more than 403
        read(client, "bucket", "d/a.jsonl", tmp_path)


def test_no_credentials_at_all_says_so(
    s3_env: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in s3_env.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no S3 credentials"):
        read(s3.connect(s3_env.endpoint_url), "bucket", "d/", tmp_path)


def test_the_endpoint_may_come_from_the_environment(
    s3_env: SeaweedFS, bucket: str, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put("a.jsonl")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_env.endpoint_url)
    assert len(read(s3.connect(), bucket, "a.jsonl", tmp_path).files) == 1


def test_a_server_that_does_not_answer_is_worth_another_try(
    s3_env: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket() as reserved:  # bound, but nobody listens
        reserved.bind(("127.0.0.1", 0))
        client = s3.connect(f"http://127.0.0.1:{reserved.getsockname()[1]}")
        monkeypatch.setattr("time.sleep", lambda _: None)  # boto3 waits between its attempts
        with pytest.raises(SourceUnavailableError, match="cannot be reached"):
            read(client, "bucket", "d/", tmp_path)


def test_an_endpoint_that_is_no_url_is_refused():
    with pytest.raises(UserError, match="mend the endpoint"):
        s3.connect("localhost:9000")


def test_partitions_are_listed_as_people_count(s3_client: Any, bucket: str, put: Any):
    for key in (
        "p/d9/a.jsonl",
        "p/d10/a.jsonl",
        "p/d10/b.jsonl",
        "p/d11/note.txt",
        "p/d 1/a.jsonl",
    ):
        put(key)
    assert s3.list_partitions(s3_client, bucket, "p/", "/") == ["d9", "d10"]
    assert s3.list_partitions(s3_client, bucket, "p/d", "/b.jsonl") == ["10"]
    assert s3.list_partitions(s3_client, bucket, "q/", "/") == []
