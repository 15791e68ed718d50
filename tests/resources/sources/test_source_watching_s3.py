"""Watching S3 for new and changed drops, against a real server."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import Any

import pytest

from resources.errors import UserError
from resources.sources import Sources, SourceUnavailableError, s3_watch
from resources.sources.drops import DropVersion
from tests.support.seaweedfs import SeaweedFS

BUCKET = "watched"
ROW = b'{"messages": []}\n'
TEMPLATES = {
    "drops/{partition}/": ("drops/", "/rows.jsonl"),
    "drops/{partition}": ("drops/", ".jsonl"),
    "drops/{partition}.jsonl": ("drops/", ".jsonl"),
    "day={partition}/data/": ("day=", "/data/rows.jsonl"),
    "{partition}/rows.jsonl": ("", "/rows.jsonl"),
}


@pytest.fixture
def sources(s3_env: SeaweedFS) -> Sources:
    return Sources(data_roots=[], s3_endpoint_url=s3_env.endpoint_url)


@pytest.fixture
def root(s3_client: Any) -> str:
    """A prefix of its own, in one bucket: the server takes seconds over a new bucket."""
    with contextlib.suppress(s3_client.exceptions.BucketAlreadyOwnedByYou):
        s3_client.create_bucket(Bucket=BUCKET)
    return f"{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def put(s3_client: Any, root: str) -> Any:
    def put(key: str, body: bytes = ROW) -> None:
        bucket, _, place = root.partition("/")
        s3_client.put_object(Bucket=bucket, Key=f"{place}/{key}", Body=body)

    return put


@pytest.fixture
def pages_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the pages of a listing small."""

    def pages_of(keys: int) -> None:
        monkeypatch.setattr(s3_watch, "PAGE", keys)

    return pages_of


def found(version: DropVersion | None) -> DropVersion:
    assert version is not None
    return version


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_look_finds_the_drops_behind_a_position(
    sources: Sources, root: str, put: Any, template: str
):
    before, after = TEMPLATES[template]
    uri = f"s3://{root}/{template}"
    for number in (1, 2, 3):
        put(f"{before}d{number}{after}")
    first = sources.drops_after(uri, "")
    assert list(first.drops) == sources.list_partitions(uri)
    assert first.end
    put(f"{before}d4{after}")
    more = sources.drops_after(uri, first.position)
    ((key, version),) = more.drops.items()
    assert version == sources.drop_version(uri, key)
    assert (found(version).files, found(version).bytes) == (1, len(ROW))
    assert sources.drops_after(uri, more.position).drops == {}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_drop_is_found_whatever_the_size_of_a_page(
    sources: Sources, root: str, put: Any, pages_of: Any, size: int
):
    uri = f"s3://{root}/drops/{{partition}}/"
    for key in ("a/1.jsonl", "a/2.jsonl", "a/deep/3.jsonl", "b/_SUCCESS", "b/1.jsonl", "c/1.json"):
        put(f"drops/{key}")
    for key in ("a-b/x.txt", "ab/_SUCCESS", "s p/1.jsonl", "loose.jsonl", "d/é ü.parquet"):
        put(f"drops/{key}")
    whole = {key: sources.drop_version(uri, key, marker="_SUCCESS") for key in ("a", "b", "c", "d")}
    pages_of(size)
    seen: dict[str, DropVersion | None] = {}
    position, looks = "", 0
    while True:
        page = sources.drops_after(uri, position, marker="_SUCCESS")
        position, looks = page.position, looks + 1
        assert all(version in (None, whole.get(key)) for key, version in page.drops.items())
        seen |= {key: sources.drop_version(uri, key, marker="_SUCCESS") for key in page.drops}
        if page.end:
            break
        assert looks < 20
    assert {key: version for key, version in seen.items() if version} == whole
    assert [key for key, version in whole.items() if found(version).marked] == ["b"]


def test_one_drop_with_many_files_is_passed_over_in_one_look(
    sources: Sources, root: str, put: Any, pages_of: Any
):
    uri = f"s3://{root}/{{partition}}/"
    for number in range(7):
        put(f"a/{number}.jsonl")
    put("b/1.jsonl")
    pages_of(2)
    first = sources.drops_after(uri, "")
    assert (first.drops, first.end) == ({"a": None}, False)
    assert found(sources.drop_version(uri, "a")).files == 7
    second = sources.drops_after(uri, first.position)
    assert (list(second.drops), second.end) == (["b"], True)


def test_a_look_lists_no_more_than_its_pages(s3_client: Any, root: str, put: Any, pages_of: Any):
    for number in range(9):
        put(f"d{number}.jsonl")
    asked: list[dict[str, Any]] = []
    s3_client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: asked.append(params)
    )
    pages_of(2)
    keys = s3_watch.DropKeys.of("", f"s3://{root}/", ".jsonl")
    page = s3_watch.drops_after(s3_client, keys, f"{keys.before}d3.jsonl", 2, None)
    assert list(page.drops) == ["d4", "d5", "d6", "d7"]
    assert [(call["StartAfter"], call["MaxKeys"]) for call in asked] == [
        (f"{keys.before}d3.jsonl", 2),
        (f"{keys.before}d5.jsonl", 2),
    ]


def test_a_token_follows_from_the_bytes_and_not_from_the_time(
    sources: Sources, root: str, put: Any
):
    uri = f"s3://{root}/d/"

    def token() -> str | None:
        version = sources.drop_version(uri, None)
        return version and version.token

    assert token() is None
    put("d/a.jsonl")
    first = token()
    put("d/a.jsonl")
    assert token() == first, "put again"
    put("d/notes.txt")
    assert token() == first, "no dataset file"
    put("d/a.jsonl", ROW * 2)
    second = token()
    put("d/b.jsonl", b"")
    assert len({first, second, token()}) == 3


def test_what_is_deleted_is_gone_and_put_again_is_back(
    sources: Sources, root: str, put: Any, s3_client: Any
):
    uri = f"s3://{root}/{{partition}}.jsonl"
    put("a.jsonl")
    first = sources.drop_version(uri, "a")
    bucket, _, place = root.partition("/")
    s3_client.delete_object(Bucket=bucket, Key=f"{place}/a.jsonl")
    assert sources.drop_version(uri, "a") is None
    assert sources.drops_after(uri, "").drops == {}
    put("a.jsonl")
    assert sources.drops_after(uri, "").drops == {"a": first}


def test_a_multipart_object_has_one_token_in_every_look(
    sources: Sources, root: str, s3_client: Any
):
    part = b"x" * (5 << 20)
    bucket, _, place = root.partition("/")
    where: dict[str, Any] = {"Bucket": bucket, "Key": f"{place}/a.jsonl"}
    where["UploadId"] = s3_client.create_multipart_upload(**where)["UploadId"]
    etags = [
        s3_client.upload_part(**where, PartNumber=number, Body=body)["ETag"]
        for number, body in ((1, part), (2, ROW))
    ]
    assert sources.drop_version(f"s3://{root}/a.jsonl", None) is None, "not there yet"
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3_client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    version = found(sources.drop_version(f"s3://{root}/a.jsonl", None))
    assert version.bytes == len(part) + len(ROW)
    assert sources.drops_after(f"s3://{root}/{{partition}}.jsonl", "").drops == {"a": version}


def test_a_key_never_takes_its_longer_neighbours_in(sources: Sources, root: str, put: Any):
    for key in ("d1/rows.jsonl", "d10/rows.jsonl", "d1-old/rows.jsonl"):
        put(key)
    assert found(sources.drop_version(f"s3://{root}/d1", None)).files == 1
    assert sources.drop_version(f"s3://{root}/d", None) is None


@pytest.mark.parametrize(
    "place",
    [
        ("{partition}/", "a/rows.jsonl", "a/_SUCCESS"),
        ("{partition}.jsonl", "a.jsonl", "a.jsonl._SUCCESS"),
        ("{partition}", "a.jsonl", "a.jsonl._SUCCESS"),
    ],
)
def test_the_marker_is_seen_and_is_no_data(
    sources: Sources, root: str, put: Any, place: tuple[str, str, str]
):
    template, data, marker = place
    uri = f"s3://{root}/{template}"
    put(data)
    (key,) = sources.drops_after(uri, "").drops
    without = found(sources.drop_version(uri, key, marker="_SUCCESS"))
    put(marker, b"")
    page = sources.drops_after(uri, "", marker="_SUCCESS")
    assert page.drops == {key: sources.drop_version(uri, key, marker="_SUCCESS")}
    marked = found(page.drops[key])
    assert (without.marked, marked.marked) == (False, True)
    assert (marked.token, marked.files) == (without.token, 1)


def test_a_marker_behind_the_position_asks_for_another_look(sources: Sources, root: str, put: Any):
    uri = f"s3://{root}/{{partition}}/"
    put("a/0.jsonl")
    position = sources.drops_after(uri, "").position
    put("a/_SUCCESS", b"")
    assert sources.drops_after(uri, position, marker="_SUCCESS").drops == {"a": None}
    assert found(sources.drop_version(uri, "a", marker="_SUCCESS")).marked


def test_a_whole_bucket_is_watched(sources: Sources, s3_client: Any):
    bucket = f"watched-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=bucket)
    assert sources.drop_version(f"s3://{bucket}", None) is None
    for key in ("rows.jsonl", "deep/rows.jsonl", "_SUCCESS"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=ROW)
    version = found(sources.drop_version(f"s3://{bucket}", None, marker="_SUCCESS"))
    assert (version.files, version.marked) == (2, True)


def test_errors_name_what_to_mend(sources: Sources, root: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="no such bucket"):
        sources.drops_after("s3://no-such-bucket-here/{partition}/", "")
    with pytest.raises(UserError, match="not in the bucket"):
        sources.drops_after("s3://{partition}/rows.jsonl", "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY"):
        sources.drop_version(f"s3://{root}/d/", None)


def test_a_server_that_is_down_may_answer_later(s3_env: SeaweedFS, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("resources.sources.s3.ATTEMPTS", 1)
    sources = Sources(data_roots=[], s3_endpoint_url="http://127.0.0.1:9")
    with pytest.raises(SourceUnavailableError, match="cannot be reached"):
        sources.drops_after("s3://bucket/{partition}/", "")


def test_files_are_downloaded_one_by_one_and_do_not_stay(
    sources: Sources, root: str, put: Any, tmp_path: Path
):
    for name in ("a", "b", "c"):
        put(f"d/{name}.jsonl", name.encode())
    files = sources.drop_files(f"s3://{root}/{{partition}}/", "d", tmp_path)
    for name in ("a", "b"):
        assert next(files).read_bytes() == name.encode()
        assert [path.name for path in tmp_path.iterdir()] == [f"{name}.jsonl"]
    files.close()
