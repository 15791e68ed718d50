"""What a dataset URI says, and what of it may be shown."""

from __future__ import annotations

import pytest

from resources.errors import UserError
from resources.sources.uri import (
    HttpsUri,
    HubUri,
    PackageUri,
    PathUri,
    PvcUri,
    S3Uri,
    SourceUri,
    parse_uri,
    redact,
)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://squad", HubUri("squad", None, None, None)),
        ("hf://org/chats:en@v1.2#rows", HubUri("org/chats", "en", "v1.2", "rows")),
        ("hf://org/chats@refs/pr/1", HubUri("org/chats", None, "refs/pr/1", None)),
        ("s3://bucket/a/b.jsonl", S3Uri("bucket", "a/b.jsonl")),
        ("s3://bucket/a/", S3Uri("bucket", "a/")),
        ("s3://bucket", S3Uri("bucket", "")),
        ("https://h/a/b%20c.jsonl?sig=x", HttpsUri("https://h/a/b%20c.jsonl?sig=x", "b c.jsonl")),
        ("pvc://drops/a.jsonl", PvcUri("drops/a.jsonl")),
        ("package://llm_data/rows/a.json.gz", PackageUri("llm_data", "rows/a.json.gz")),
        ("/data/a.jsonl", PathUri("/data/a.jsonl")),
        ("rows/a.parquet", PathUri("rows/a.parquet")),
    ],
)
def test_each_scheme_has_its_value(uri: str, expected: SourceUri):
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "empty"),
        (" /data", "spaces"),
        ("ftp://host/a.jsonl", "ftp:// is not supported: the known ones are hf://, s3://"),
        ("file:///data/a.jsonl", "absolute path instead"),
        ("gs://bucket/a.jsonl", "Google Cloud Storage is not supported"),
        ("oci://registry/model", "an OCI registry holds models"),
        ("hf://", "hf://name"),
        ("hf://a/b/c", "hf://name"),
        ("hf://../secret", "hf://name"),
        ("s3:///key", "s3://bucket/key"),
        ("s3://bucket/../other/a.jsonl", "empty, . or .. part"),
        ("https:///a.jsonl", "names no host"),
        ("https://host/a.csv", r"\.jsonl, \.jsonl\.gz, \.jsonl\.zst, \.json"),
        ("pvc://", "names no file"),
        ("package://llm_data", "package://PACKAGE/FILE"),
        ("package://llm_data/a.py", "unknown file type"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(uri: str, message: str):
    with pytest.raises(UserError, match=message):
        parse_uri(uri)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(UserError, match="user name or password") as caught:
        parse_uri("https://me:hunter2@host/a.jsonl")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:pw@host:8443/a.jsonl?sig=secret#part", "https://host:8443/a.jsonl"),
        ("https://[broken/a.jsonl?sig=secret", "https://…"),
        ("s3://key:secret@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("ftp://me:secret@host/a", "ftp://host/a"),
        ("hf://org/chats@main#train", "hf://org/chats@main#train"),
        ("hf://org/chats?token=secret", "hf://org/chats"),
        ("pvc://a.jsonl?token=secret", "pvc://a.jsonl"),
        ("package://p/a.jsonl?token=secret", "package://p/a.jsonl"),
        ("host/a.jsonl?sig=secret", "host/a.jsonl"),
        ("https://me:secret/a.jsonl", "https://…"),
        ("/data/what?.jsonl", "/data/what?.jsonl"),
    ],
)
def test_nothing_secret_of_a_uri_is_shown(uri: str, shown: str):
    assert redact(uri) == shown
