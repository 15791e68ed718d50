"""Datasets on S3, against a real server."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from resources.errors import UserError
from resources.sources import s3, s3_download
from resources.sources.files import Fetched, SizeLimit, SourceUnavailableError
from resources.sources.uri import S3Uri
from tests.support.seaweedfs import SeaweedFS

ROW = b'{"messages": []}\n'
LARGE = 9 << 20  # more parts than there are threads


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


@pytest.mark.usefixtures("small_parts")
def test_a_large_object_arrives_whole(s3_client: Any, bucket: str, put: Any, tmp_path: Path):
    body = ROW * (LARGE // len(ROW))
    put("large.jsonl", body)
    (file,) = read(s3_client, bucket, "large.jsonl", tmp_path).files
    assert file.sha256 == hashlib.sha256(body).hexdigest()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 1 MiB, so that an object of several is quickly put."""
    monkeypatch.setattr(s3_download, "PART", 1 << 20)


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


@pytest.mark.usefixtures("small_parts")
def test_an_object_that_changes_between_two_of_its_parts_is_read_again(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    old, new = ROW * (LARGE // len(ROW)), ROW.upper() * (LARGE // len(ROW))
    put("a.jsonl", old)
    seen: list[str] = []

    def overwrite(params: dict[str, Any], **_: Any) -> None:
        seen.append(params["headers"]["Range"])
        if len(seen) == 2:
            put("a.jsonl", new)

    s3_client.meta.events.register("before-call.s3.GetObject", overwrite)
    (file,) = read(s3_client, bucket, "a.jsonl", tmp_path).files
    assert len(seen) > 2
    assert file.sha256 == hashlib.sha256(new).hexdigest()
    assert file.path.read_bytes() == new


def test_an_object_that_is_removed_meanwhile_says_so(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    put("a.jsonl")

    def delete(**_: Any) -> None:
        s3_client.delete_object(Bucket=bucket, Key="a.jsonl")

    s3_client.meta.events.register("before-call.s3.GetObject", delete)
    with pytest.raises(SourceUnavailableError, match="was removed while it was read"):
        read(s3_client, bucket, "a.jsonl", tmp_path)


@pytest.mark.parametrize("written", ["a.jsonl", "c.jsonl"])
def test_a_drop_that_is_still_being_uploaded_is_refused(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path, written: str
):
    """While its second file is read, its first one is written again, or a third one comes."""
    put("d/a.jsonl")
    put("d/b.jsonl")

    def write(params: dict[str, Any], **_: Any) -> None:
        if params["url_path"].endswith("b.jsonl"):
            put(f"d/{written}", ROW.upper())

    s3_client.meta.events.register("before-call.s3.GetObject", write)
    with pytest.raises(SourceUnavailableError, match=rf"changed while it was read \({written}\)"):
        read(s3_client, bucket, "d/", tmp_path)


class Network:
    """Breaks the first so many answers after some bytes of their body: the socket is closed."""

    def __init__(self, client: Any, times: int, after: int) -> None:
        self.times, self.after, self.ranges = times, after, list[str]()
        client.meta.events.register("before-call.s3.GetObject", self.note)
        client.meta.events.register("after-call.s3.GetObject", self.breaks)

    def note(self, params: dict[str, Any], **_: Any) -> None:
        self.ranges.append(params["headers"]["Range"])

    def breaks(self, parsed: dict[str, Any], **_: Any) -> None:
        if self.times:
            self.times -= 1
            body, left = parsed["Body"], [self.after]
            real = body.read

            def read(amount: int) -> bytes:
                if not left[0]:
                    body._raw_stream._fp.close()
                block = real(min(amount, left[0] or amount))
                left[0] -= min(left[0], len(block))
                return block

            body.read = read


def test_a_broken_part_is_resumed_where_it_stopped(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    body = ROW * 5000
    put("a.jsonl", body)
    network, waits = Network(s3_client, times=2, after=4000), list[float]()
    fetched = s3.fetch(s3_client, S3Uri(bucket, "a.jsonl"), tmp_path, SizeLimit(0), waits.append)
    assert fetched.files[0].path.read_bytes() == body
    last = len(body) - 1
    assert network.ranges == [f"bytes=0-{last}", f"bytes=4000-{last}", f"bytes=8000-{last}"]
    assert len(waits) == 2


def test_a_part_that_always_breaks_is_given_up(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    put("a.jsonl", ROW * 5000)
    Network(s3_client, times=99, after=4000)
    with pytest.raises(SourceUnavailableError, match="S3 cannot be reached at http://127"):
        s3.fetch(s3_client, S3Uri(bucket, "a.jsonl"), tmp_path, SizeLimit(0), lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_object_is_an_empty_file(s3_client: Any, bucket: str, put: Any, tmp_path: Path):
    put("a.jsonl", b"")
    (file,) = read(s3_client, bucket, "a.jsonl", tmp_path).files
    assert (file.size, file.path.read_bytes()) == (0, b"")


@pytest.mark.usefixtures("small_parts")
def test_an_object_of_exactly_some_parts_arrives_whole(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    body = bytes(range(256)) * (2 * s3_download.PART // 256)
    put("a.jsonl", body)
    (file,) = read(s3_client, bucket, "a.jsonl", tmp_path).files
    assert file.sha256 == hashlib.sha256(body).hexdigest()


def test_an_object_whose_bytes_are_not_its_md5_is_refused(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path
):
    put("a.jsonl")
    s3_client.meta.events.register("after-call.s3.GetObject", _flip)
    with pytest.raises(SourceUnavailableError, match="other bytes than its ETag"):
        read(s3_client, bucket, "a.jsonl", tmp_path)
    assert list(tmp_path.iterdir()) == []


def _flip(parsed: dict[str, Any], **_: Any) -> None:
    real = parsed["Body"].read
    parsed["Body"].read = lambda amount: real(amount).upper()


def test_a_server_that_stops_sending_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It accepts the connection and never answers."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("time.sleep", lambda _: None)  # boto3 waits between its attempts
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = s3.connect(f"http://127.0.0.1:{silent.getsockname()[1]}", "r", read_timeout=0.05)
        with pytest.raises(
            SourceUnavailableError, match=r"http://127\.0\.0\.1:\d+ stopped sending"
        ):
            read(client, "bucket", "d/", tmp_path)


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


def test_what_does_not_fit_on_the_disk_is_refused_before_a_byte_is_asked_for(tmp_path: Path):
    large = s3._Object("rows.jsonl", s3_download.Version("bucket", "rows.jsonl", 10**18, '"etag"'))
    with pytest.raises(UserError, match=r"^s3://bucket/rows\.jsonl: its .* MB do not fit into"):
        s3._download(None, large, tmp_path, SizeLimit(0), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_prefix_is_refused_as_a_whole_when_its_files_fit_only_one_by_one(
    s3_client: Any, bucket: str, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put("p/a.jsonl")
    put("p/b.jsonl")
    room_for_one = shutil.disk_usage(tmp_path)._replace(free=len(ROW))
    monkeypatch.setattr("shutil.disk_usage", lambda _: room_for_one)
    with pytest.raises(UserError, match=rf"^s3://{bucket}/p/: its .* MB do not fit into"):
        s3.fetch(s3_client, S3Uri(bucket, "p/"), tmp_path, SizeLimit(0))
    assert not list(tmp_path.iterdir())
