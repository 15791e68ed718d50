"""The Dagster resource: settings, and each URI to its scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.errors import UserError
from resources.sources import Sources
from tests.support.loopback_hub import LoopbackHub, Repo
from tests.support.seaweedfs import SeaweedFS

ROW = b'{"messages": []}\n'


def test_a_path_is_read_and_listed(tmp_path: Path):
    sources = Sources(data_roots=[str(tmp_path)])
    for day in ("d2", "d10"):
        (tmp_path / f"{day}.jsonl").write_bytes(ROW)
    assert sources.list_partitions("{partition}.jsonl", tmp_path) == ["d2", "d10"]
    assert sources.list_partitions(f"{tmp_path}/d{{partition}}.jsonl") == ["2", "10"]
    assert sources.fetch("d2.jsonl", tmp_path / "into", tmp_path).files[0].size == len(ROW)


def test_a_volume_is_read_and_listed(tmp_path: Path):
    sources = Sources(data_roots=[], pvc_root=str(tmp_path))
    (tmp_path / "drops").mkdir()
    (tmp_path / "drops/a.jsonl").write_bytes(ROW)
    assert sources.list_partitions("pvc://drops/{partition}.jsonl") == ["a"]
    assert sources.fetch("pvc://drops/a.jsonl", tmp_path / "into").uri == "pvc://drops/a.jsonl"


def test_a_bucket_is_read_and_listed(s3_env: SeaweedFS, s3_client: Any, tmp_path: Path):
    s3_client.create_bucket(Bucket="resource-test")
    s3_client.put_object(Bucket="resource-test", Key="drops/a/rows.jsonl", Body=ROW)
    sources = Sources(data_roots=[], s3_endpoint_url=s3_env.endpoint_url)
    template = "s3://resource-test/drops/{partition}/"
    assert sources.list_partitions(template) == ["a"]
    fetched = sources.fetch(template.format(partition="a"), tmp_path / "into")
    assert [file.name for file in fetched.files] == ["rows.jsonl"]


def test_a_hub_dataset_is_read(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/chats"] = Repo({"main": {"train.jsonl": ROW}})
    fetched = Sources(data_roots=[]).fetch("hf://org/chats", tmp_path / "into")
    assert [file.name for file in fetched.files] == ["train.jsonl"]


@pytest.mark.parametrize(
    "template", ["https://h/{partition}.jsonl", "hf://o/d@{partition}", "package://p/{partition}.json"]
)  # fmt: skip
def test_what_cannot_be_listed_is_not(template: str):
    assert Sources(data_roots=[]).list_partitions(template) is None


def test_a_bucket_is_not_a_partition():
    with pytest.raises(UserError, match="not in the bucket"):
        Sources(data_roots=[]).list_partitions("s3://b-{partition}/a.jsonl")


def test_a_template_is_not_a_dataset(tmp_path: Path):
    with pytest.raises(UserError, match="not filled in"):
        Sources(data_roots=[str(tmp_path)]).fetch(f"{tmp_path}/{{partition}}.jsonl", tmp_path)


def test_checking_reads_nothing(tmp_path: Path):
    sources = Sources(data_roots=[str(tmp_path)], pvc_root=str(tmp_path))
    for uri in (
        f"{tmp_path}/none.jsonl",
        "pvc://none/{partition}.jsonl",
        "hf://org/none:x",
        "s3://no-such-bucket/{partition}/",
        "https://nowhere.invalid/{partition}.jsonl",
        "package://no_such_package/a.jsonl",
    ):
        sources.check(uri)
    sources.check("none.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/etc/{partition}", "FT_DATA_ROOTS"),
        ("pvc://a.jsonl", "FT_PVC_ROOT"),
        ("http://host/a.jsonl", "use https://"),
        ("ftp://host/a.jsonl", "not supported"),
        ("/data/{partition}/{partition}", "exactly once"),
    ],
)
def test_checking_refuses_what_no_reading_can_mend(tmp_path: Path, uri: str, message: str):
    with pytest.raises(UserError, match=message):
        Sources(data_roots=[str(tmp_path)]).check(uri)


def test_plain_http_to_this_machine_needs_permission():
    url = "http://127.0.0.1:8000/a.jsonl"
    Sources(data_roots=[], allow_private_addresses=True).check(url)
    with pytest.raises(UserError, match="use https://"):
        Sources(data_roots=[]).check(url)


def test_an_asset_uses_it(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(ROW)

    @dg.asset
    def rows(sources: Sources) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(
            metadata={"size": sources.fetch(f"{tmp_path}/a.jsonl", tmp_path).files[0].size}
        )

    result = dg.materialize([rows], resources={"sources": Sources(data_roots=[str(tmp_path)])})
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["size"].value == len(ROW)
