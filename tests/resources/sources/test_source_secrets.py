"""No failure of any scheme shows a query string or user information, nor keeps it as its cause."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.sources import Sources

SECRET = "hunter2"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    """Every server is one that refuses connections, at a URL that holds a secret as well."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:{SECRET}@127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)  # the libraries wait between their attempts
    monkeypatch.setattr("resources.sources.retries.MAX_WAIT", 0.0)  # and so do we
    return Sources(
        data_roots=[str(tmp_path)],
        pvc_root=str(tmp_path),
        allow_private_addresses=True,
        s3_endpoint_url=f"http://me:{SECRET}@127.0.0.1:9",
    )


QUERY = f"?X-Amz-Signature={SECRET}&token={SECRET}"


@pytest.mark.parametrize(
    "uri",
    [
        f"https://127.0.0.1:9/a.jsonl{QUERY}",
        f"http://127.0.0.1:9/a.jsonl{QUERY}",
        f"http://example.com/a.jsonl{QUERY}",
        f"https://nowhere.invalid/a.jsonl{QUERY}",
        f"https://127.0.0.1:9/a.csv{QUERY}",
        f"https:///a.jsonl{QUERY}",
        f"https://me:{SECRET}@127.0.0.1:9/a.jsonl",
        f"https://me:{SECRET}/a.jsonl",
        f"https://[me:{SECRET}@127.0.0.1/a.jsonl{QUERY}",
        f"https://127.0.0.1:9/{{partition}}/a.jsonl{QUERY}",
        f" https://127.0.0.1:9/a.jsonl{QUERY}",
        f"https://127.0.0.1:9/a.jsonl{QUERY}\n",
        f"127.0.0.1:9/a.jsonl{QUERY}",
        f"s3://bucket/a.jsonl{QUERY}",
        f"s3://me:{SECRET}@bucket/a.jsonl",
        "s3://bucket/a.jsonl",
        "s3://bucket/folder/",
        f"hf://org/chats{QUERY}",
        "hf://org/chats",
        f"pvc://a.jsonl{QUERY}",
        f"package://email/a.jsonl{QUERY}",
        f"/none/a.jsonl{QUERY}",
        f"ftp://me:{SECRET}@host/a.jsonl{QUERY}",
        f"gs://bucket/a.jsonl{QUERY}",
        f"oci://me:{SECRET}@host/a{QUERY}",
        f"file:///a.jsonl{QUERY}",
    ],
)
def test_a_failure_shows_no_secret(
    sources: Sources, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    with pytest.raises(UserError) as caught:
        sources.fetch(uri, tmp_path / "into")
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in str(caught.value)
    assert SECRET not in "".join(line for line in shown.splitlines() if not line.startswith("  "))
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "template",
    [
        f"s3://bucket-{{partition}}{QUERY}",
        f"s3://bucket/{{partition}}/a.jsonl{QUERY}",
        "s3://bucket/{partition}/",
        f"pvc://{{partition}}.jsonl{QUERY}",
        f"https://h/a.jsonl{QUERY}",
    ],
)
def test_a_failing_listing_shows_no_secret(sources: Sources, template: str):
    with pytest.raises(UserError) as caught:
        sources.list_partitions(template)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("endpoint", [f"me:{SECRET}@host:9000", f"http://host:9000?key={SECRET}"])
def test_an_endpoint_that_is_refused_is_not_repeated(
    sources: Sources, endpoint: str, tmp_path: Path
):
    broken = sources.model_copy(update={"s3_endpoint_url": endpoint})
    with pytest.raises(UserError, match="mend the") as caught:
        broken.fetch("s3://bucket/a.jsonl", tmp_path / "into")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
