"""What an artifact store promises, whether it is a folder or a bucket."""

# ruff: noqa: PT012 - the block that is tested is the one that publishes
from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.store import Artifact, ArtifactStore, LeaseLostError
from resources.store.file_digests import FileDigests
from resources.store.manifest import digest_of, sha256_of

KEY = ["demo", "split_dataset"]
DROP = "2024-05-01"


def publish(store: ArtifactStore, files: dict[str, str], partition=DROP, **metadata) -> Artifact:
    with store.publish(KEY, partition, metadata=metadata) as draft:
        for name, text in files.items():
            (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
            (draft.path / name).write_text(text)
    assert draft.artifact is not None
    return draft.artifact


def texts(artifact: Artifact) -> dict[str, str]:
    return {f.path: artifact.file(f.path).read_text() for f in artifact.manifest.files}


def test_what_is_published_can_be_opened(store):
    files = {"train.jsonl": "a\n", "held_out/rows.jsonl": "b\n"}

    published = publish(store, files, rows=2)
    opened = store.open(KEY, DROP)

    assert opened == published
    assert texts(opened) == files
    assert (opened.key, opened.partition) == (tuple(KEY), DROP)
    assert opened.manifest.metadata == {"rows": 2}
    assert store.verify(opened) == []


def test_metadata_and_data_version_can_be_set_until_the_end(store):
    with store.publish(KEY, None, metadata={"rows": 1}) as draft:
        (draft.path / "rows").write_text("x")
        draft.metadata["loss"] = 0.5
        draft.data_version = "v7"

    opened = store.open(KEY, None)
    assert opened.manifest.metadata == {"rows": 1, "loss": 0.5}
    assert opened.data_version == "v7"


def test_the_digest_is_of_paths_sizes_and_bytes_and_is_the_default_data_version(store):
    one = publish(store, {"a": "x", "b": "y"}, note="first")
    renamed = publish(store, {"a": "x", "c": "y"})
    again = publish(store, {"b": "y", "a": "x"}, note="third")

    digests = FileDigests(one.path)
    assert one.digest == one.data_version == digest_of([digests.of("b"), digests.of("a")])
    assert renamed.digest != one.digest
    assert again.digest == one.digest


def test_nothing_is_there_before_the_first_publication(store):
    assert store.find(KEY, DROP) is None
    with pytest.raises(UserError, match=r"demo/split_dataset, partition 2024-05-01 .*materialize"):
        store.open(KEY, DROP)


def test_nothing_is_visible_while_a_draft_is_written(store):
    with store.publish(KEY, DROP) as draft:
        (draft.path / "rows").write_text("x")
        assert store.find(KEY, DROP) is None
    assert store.find(KEY, DROP) is not None


def test_partitions_and_assets_are_apart(store):
    publish(store, {"rows": "may"}, partition="2024-05")
    publish(store, {"rows": "all"}, partition=None)

    assert texts(store.open(KEY, "2024-05")) == {"rows": "may"}
    assert texts(store.open(KEY, None)) == {"rows": "all"}
    assert store.find([*KEY, "2024-05"], None) is None


def test_former_versions_stay(store):
    first = publish(store, {"rows": "old"})
    publish(store, {"rows": "new"})

    assert texts(store.open(KEY, DROP)) == {"rows": "new"}
    assert texts(store.open_version(KEY, DROP, first.digest)) == {"rows": "old"}


def test_an_unknown_version_is_an_error_that_names_the_current_one(store):
    current = publish(store, {"rows": "x"})
    with pytest.raises(UserError, match=f"no version 0000.*current: {current.digest}"):
        store.open_version(KEY, DROP, "0" * 64)


def test_the_same_content_published_twice_is_one_version(store):
    first = publish(store, {"rows": "x"}, run="a")
    second = publish(store, {"rows": "x"}, run="a")

    assert second.manifest == first.manifest, "nothing new: the first manifest stays"


def test_newer_metadata_replaces_the_manifest_of_the_same_content(store):
    first = publish(store, {"rows": "x"}, run="a")
    publish(store, {"rows": "x"}, run="b")

    opened = store.open(KEY, DROP)
    assert opened.digest == first.digest
    assert opened.manifest.metadata == {"run": "b"}


def test_a_former_version_becomes_current_again_when_it_is_published_again(store):
    publish(store, {"rows": "old"})
    publish(store, {"rows": "new"})
    publish(store, {"rows": "old"})

    assert texts(store.open(KEY, DROP)) == {"rows": "old"}


def test_an_exception_in_the_block_publishes_nothing(store):
    publish(store, {"rows": "x"})
    with (
        pytest.raises(ZeroDivisionError),
        store.publish(KEY, DROP) as draft,
    ):
        (draft.path / "rows").write_text("half")
        raise ZeroDivisionError

    assert not draft.path.exists()
    assert draft.artifact is None
    assert texts(store.open(KEY, DROP)) == {"rows": "x"}


def test_an_artifact_without_files_is_refused(store):
    with pytest.raises(UserError, match="demo/split_dataset is empty"), store.publish(KEY, DROP):
        pass
    assert store.find(KEY, DROP) is None


def test_links_are_refused_because_an_artifact_holds_its_own_bytes(store, tmp_path):
    (tmp_path / "outside").write_text("x")
    with (
        pytest.raises(UserError, match=r"model.bin is a link"),
        store.publish(KEY, DROP) as draft,
    ):
        (draft.path / "model.bin").symlink_to(tmp_path / "outside")


def test_metadata_that_json_cannot_hold_is_refused_by_name(store):
    with pytest.raises(UserError, match="'scores' holds NaN"):
        publish(store, {"rows": "x"}, scores={"loss": [float("nan")]})
    assert store.find(KEY, DROP) is None


def test_a_file_that_is_not_there_is_an_error_that_lists_those_that_are(store):
    artifact = publish(store, {"train.jsonl": "x"})
    with pytest.raises(UserError, match=r"no file 'test.jsonl'; it has: train.jsonl"):
        artifact.file("test.jsonl")


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        ([], None),
        (["..", "x"], None),
        (["a/b"], None),
        (["a", ""], None),
        (["_"], None),
        (["a"], "../up"),
        (["a"], "x\n"),
        (["a"], "x" * 129),
        (["a"], "current.json"),
        (["a", "versions"], None),
    ],
)
def test_names_that_leave_the_layout_are_refused(store, key, partition):
    with pytest.raises(UserError, match="is not valid"):
        store.find(key, partition)
    with pytest.raises(UserError, match="is not valid"), store.publish(key, partition):
        pass


@pytest.mark.parametrize("digest", ["", "..", "0" * 16, "G" * 64])
def test_a_version_is_asked_for_by_its_whole_digest(store, digest):
    with pytest.raises(UserError, match=r"digest .* is not valid"):
        store.open_version(KEY, DROP, digest)


def test_concurrent_publishers_leave_one_whole_artifact(store):
    artifacts: list[Artifact] = []
    start = threading.Barrier(6)

    def work(number: int) -> None:
        start.wait()
        content = f"content {number % 3}"
        artifacts.append(publish(store, {"one": content, "two": content}, by=number))

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(artifacts) == 6
    current = store.open(KEY, DROP)
    assert current.digest in {artifact.digest for artifact in artifacts}
    for digest in {artifact.digest for artifact in artifacts}:
        version = store.open_version(KEY, DROP, digest)
        assert store.verify(version) == []
        assert len(set(texts(version).values())) == 1, "files of one publisher"


def test_a_flipped_byte_is_found_and_publishing_again_repairs_it(
    store, request, s3_client, bucket, tmp_path
):
    artifact = publish(store, {"model": "weights", "tokenizer": "words"})
    flip_byte(artifact, "model", s3_client, bucket)

    assert store.verify(artifact) == ["model"]
    publish(store, {"model": "weights", "tokenizer": "words"})
    assert store.verify(store.open(KEY, DROP)) == []


def flip_byte(artifact: Artifact, name: str, s3_client, bucket: str) -> None:
    if artifact.uri.startswith("s3://"):
        key = artifact.uri.removeprefix(f"s3://{bucket}/") + f"/{name}"
        body = s3_client.get_object(Bucket=bucket, Key=key)["Body"].read()
        s3_client.put_object(Bucket=bucket, Key=key, Body=flipped(body))
    else:
        path = Path(artifact.uri) / name
        path.write_bytes(flipped(path.read_bytes()))


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def test_a_killed_publisher_leaves_nothing_visible_and_no_rest_after_the_next(
    store, in_child, kill_before, tmp_path
):
    fresh = store.model_dump()  # a child shares no connection with its parent

    def dies() -> None:
        from resources.store.resource import _store_at

        _store_at.cache_clear()
        with ArtifactStore(**fresh).publish(KEY, DROP) as draft:
            (draft.path / "rows").write_text("half")
            kill_before("open", 1)
            (draft.path / "more").write_text("never")

    assert in_child(dies) == -signal.SIGKILL

    assert store.find(KEY, DROP) is None
    assert len(staged(tmp_path)) == 1
    assert texts(publish(store, {"rows": "whole"})) == {"rows": "whole"}
    assert staged(tmp_path) == []


def staged(folder: Path) -> list[Path]:
    return list(folder.glob("**/.staging/*"))


def test_a_damaged_manifest_says_so_and_publishing_again_repairs_it(store, s3_client, bucket):
    artifact = publish(store, {"rows": "x"})
    damage_manifest(artifact, s3_client, bucket)

    with pytest.raises(UserError, match=r"manifest .* materialize"):
        store.open(KEY, DROP)
    assert texts(publish(store, {"rows": "x"})) == {"rows": "x"}
    assert store.open(KEY, DROP).digest == artifact.digest


def damage_manifest(artifact: Artifact, s3_client, bucket: str) -> None:
    content = json.dumps({"schema_version": 99})
    place = artifact.uri.removesuffix("files") + "manifest.json"
    if place.startswith("s3://"):
        key = place.removeprefix(f"s3://{bucket}/")
        s3_client.put_object(Bucket=bucket, Key=key, Body=content.encode())
    else:
        Path(place).write_text(content)


@pytest.mark.parametrize("root", ["", "ftp://host/x", "s3://", "s3://bucket/x?versionId=1"])
def test_a_root_that_is_no_place_is_refused(root):
    with pytest.raises(UserError, match="root"):
        ArtifactStore(root=root).find(KEY, None)


def test_a_root_is_not_repeated_in_messages_because_it_can_hold_a_password():
    with pytest.raises(UserError) as error:
        ArtifactStore(root="https://me:hunter2@host/x").find(KEY, None)
    assert "hunter2" not in str(error.value)


def test_an_attestation_is_published_with_the_manifest_and_changes_no_digest(store):
    plain = publish(store, {"a": "x"}, note="plain")
    with store.publish(KEY, DROP, metadata={"note": "attested"}) as draft:
        (draft.path / "a").write_text("x")
        draft.attest = lambda manifest: {"about": manifest.digest, "note": manifest.metadata}

    opened = store.open(KEY, DROP)
    assert plain.manifest.attestation is None
    assert opened.digest == opened.data_version == plain.digest
    assert opened.manifest.attestation == {"about": plain.digest, "note": {"note": "attested"}}


def test_an_attestation_that_fails_publishes_nothing(store):
    def attest(_manifest):
        raise UserError("the key is gone")

    with pytest.raises(UserError, match="the key is gone"), store.publish(KEY, DROP) as draft:
        (draft.path / "a").write_text("x")
        draft.attest = attest
    assert store.find(KEY, DROP) is None


def test_a_verifier_sees_versions_manifests_and_bytes_as_they_are(store):
    first = publish(store, {"a": "x"})
    second = publish(store, {"a": "y"})
    backend = store.backend

    assert sorted(backend.versions(KEY, DROP)) == sorted([first.digest, second.digest])
    assert backend.versions(KEY, "never") == []
    assert backend.place_of(f"{first.uri}/a") == (tuple(KEY), DROP, first.digest)
    assert backend.place_of("/elsewhere/versions") is None
    content = backend.read_manifest(KEY, DROP, first.digest)
    assert content is not None
    assert json.loads(content)["digest"] == first.digest
    assert backend.read_manifest(KEY, DROP, "0" * 64) is None
    assert backend.sha256(first.manifest, "a") == sha256_of(first.file("a"))
    assert backend.sha256(first.manifest, "none") is None
    assert backend.unknown_files(first.manifest) == []


def test_versions_are_listed_newest_first_and_those_that_cannot_be_read_are_left_out(
    store, s3_client, bucket
):
    first = publish(store, {"rows": "one"})
    time.sleep(1.1 if first.uri.startswith("s3://") else 0.01)  # a bucket tells whole seconds
    second = publish(store, {"rows": "two"})
    assert list(store.versions(KEY, DROP)) == [second, first]
    assert list(store.versions(KEY, "never")) == []
    damage_manifest(second, s3_client, bucket)
    assert list(store.versions(KEY, DROP)) == [first]


def test_an_earlier_version_becomes_the_current_one_again_as_it_was(store):
    first = publish(store, {"rows": "one"}, run="a")
    second = publish(store, {"rows": "two"}, run="b")

    store.reinstate(first)

    assert store.open(KEY, DROP) == first
    assert texts(store.open(KEY, DROP)) == {"rows": "one"}
    store.reinstate(second)
    assert store.open(KEY, DROP).manifest.metadata == {"run": "b"}


def test_a_guard_that_refuses_leaves_the_current_version(store):
    first = publish(store, {"rows": "one"})
    second = publish(store, {"rows": "two"})

    def refuse() -> None:
        raise LeaseLostError("somebody else holds it")

    with pytest.raises(LeaseLostError):
        store.reinstate(first, guard=refuse)
    assert store.open(KEY, DROP) == second


def test_a_version_whose_files_are_gone_does_not_become_current(store, s3_client, bucket):
    first = publish(store, {"rows": "one"})
    second = publish(store, {"rows": "two"})
    if first.uri.startswith("s3://"):
        key = first.uri.removeprefix(f"s3://{bucket}/") + "/rows"
        s3_client.delete_object(Bucket=bucket, Key=key)
    else:
        (Path(first.uri) / "rows").unlink()

    with pytest.raises(UserError, match=r"rows is missing .*materialize the asset again"):
        store.reinstate(first)
    assert store.open(KEY, DROP) == second


def test_what_is_published_and_reinstated_at_once_leaves_one_whole_version(store):
    kept = [publish(store, {"rows": str(number)}) for number in range(3)]
    start = threading.Barrier(6)

    def work(number: int) -> None:
        start.wait()
        if number % 2:
            publish(store, {"rows": str(number % 3)})
        else:
            store.reinstate(kept[number % 3])

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    current = store.open(KEY, DROP)
    assert current.digest in {artifact.digest for artifact in kept}
    assert store.verify(current) == []
