"""Which champion a candidate meets, and that both meet on rows that neither was trained on."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ft_assets.assets.champion import Champion, open_champion, opponent
from resources.errors import UserError
from resources.registry import EmbeddedRegistry, Registration
from resources.store import Artifact, ArtifactStore

NAME = "assistant"


def row_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_rows(path: Path, numbers: range) -> Path:
    lines = (
        json.dumps(
            {"id": row_id(number), "messages": [{"role": "user", "content": f"row {number}"}]},
            separators=(",", ":"),
        )
        for number in numbers
    )
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(root=str(tmp_path / "store"))


@pytest.fixture
def registry(tmp_path) -> EmbeddedRegistry:
    return EmbeddedRegistry(path=str(tmp_path / "registry.db"))


def publish_split(store: ArtifactStore, partition: str | None, numbers: range) -> Artifact:
    with store.publish(["mine", "split_dataset"], partition) as draft:
        write_rows(draft.path / "train.jsonl", numbers)
    assert draft.artifact is not None
    return draft.artifact


def publish_model(
    store: ArtifactStore,
    partition: str | None,
    weights: str,
    split: Artifact,
    *,
    key: Sequence[str] = ("mine", "finetuned_model"),
) -> Artifact:
    made_from = {
        "asset": "mine/split_dataset",
        "digest": split.digest,
        "data_version": split.data_version,
        "uri": split.uri,
    }
    metadata = {"provenance": {"inputs": [made_from]}}
    with store.publish(key, partition, metadata=metadata) as draft:
        (draft.path / "model").mkdir()
        (draft.path / "model" / "model.safetensors").write_text(weights)
        draft.data_version = f"version of {weights}"
    assert draft.artifact is not None
    return draft.artifact


def register(registry: EmbeddedRegistry, digest: str, uri: str = "s3://bucket/model") -> Champion:
    version = registry.register(Registration(model=NAME, digest=digest, uri=uri, author="a test"))
    return Champion.of(version)


def met(registry, candidate: str, *, judged: bool = False, before: Champion | None = None):
    champion, _ = opponent(registry, NAME, candidate, judged=judged, before=before)
    return champion.digest if champion is not None else None


def test_the_first_candidate_of_a_name_meets_nobody(registry):
    assert opponent(registry, NAME, "first", judged=False, before=None) == (None, False)


def test_a_model_with_versions_and_no_champion_is_not_taken_for_a_new_one(registry):
    register(registry, "first")
    with closing(sqlite3.connect(registry.path)) as database, database:
        database.execute("UPDATE versions SET stage = 'archived', state = 'ARCHIVED'")
    with pytest.raises(UserError, match=r"ft registry promote assistant 1\.0\.0 --why TEXT"):
        opponent(registry, NAME, "second", judged=False, before=None)


def test_a_later_candidate_meets_the_champion(registry):
    register(registry, "first")
    assert met(registry, "second") == "first"


def test_a_candidate_that_lost_meets_each_new_champion(registry):
    before = register(registry, "first")
    register(registry, "second")
    assert met(registry, "loser", judged=True, before=before) == "second"


def test_a_registered_candidate_keeps_the_opponent_that_it_was_judged_against(registry):
    before = register(registry, "first")
    register(registry, "second")
    assert opponent(registry, NAME, "second", judged=True, before=before) == (before, True)
    register(registry, "third")
    assert opponent(registry, NAME, "second", judged=True, before=before) == (before, True)
    assert opponent(registry, NAME, "first", judged=True, before=None) == (None, True)


def test_the_champion_does_not_meet_itself(registry):
    register(registry, "first")
    assert met(registry, "first") is None


@pytest.mark.parametrize("partition", ["drop-1", None])
def test_the_champions_model_and_its_split_come_from_the_store(store, registry, partition):
    split = publish_split(store, partition, range(3))
    model = publish_model(store, partition, "old", split)
    publish_model(store, partition, "new", split)  # no longer the current version of its asset
    champion = register(registry, model.data_version, f"{model.uri}/model")

    opened = open_champion(store, champion)

    assert opened.model == model
    assert opened.split == split
    assert (opened.folder / "model.safetensors").read_text() == "old"


@pytest.mark.parametrize("recipe", [(), ("fast",)])
def test_a_store_that_was_moved_still_has_its_champion(store, registry, tmp_path, recipe):
    split = publish_split(store, "drop-1", range(3))
    key = ("mine", *recipe, "finetuned_model")
    model = publish_model(store, "drop-1", "old", split, key=key)
    champion = register(registry, model.data_version, f"{model.uri}/model")
    (tmp_path / "store").rename(tmp_path / "moved")
    moved = ArtifactStore(root=str(tmp_path / "moved"))
    assert open_champion(moved, champion).folder.is_relative_to(tmp_path / "moved")


def lost(store, champion: Champion) -> str:
    with pytest.raises(UserError) as error:
        open_champion(store, champion)
    message = str(error.value)
    assert message.startswith("the champion assistant 1.0.0 cannot be evaluated")
    assert message.endswith("(ft registry promote assistant VERSION --why TEXT)")
    return message


def test_a_damaged_champion_in_a_store_that_was_moved_is_named_itself(store, registry, tmp_path):
    split = publish_split(store, "drop-1", range(3))
    model = publish_model(store, "drop-1", "old", split, key=("mine", "fast", "finetuned_model"))
    champion = register(registry, model.data_version, f"{model.uri}/model")
    (tmp_path / "store").rename(tmp_path / "moved")
    manifest = model.path.parent.relative_to(tmp_path / "store") / "manifest.json"
    (tmp_path / "moved" / manifest).write_text("{")
    said = lost(ArtifactStore(root=str(tmp_path / "moved")), champion)
    assert str(manifest) in said


def test_a_champion_whose_artifact_is_gone_is_met_by_nobody(store, registry):
    uri = f"/some where/mine/finetuned_model/drop-1/versions/{'a' * 64}/files/model"
    assert "mine/finetuned_model, partition drop-1" in lost(store, register(registry, "x", uri))


def test_a_champion_from_outside_is_met_by_nobody(store, registry):
    assert "names no artifact" in lost(store, register(registry, "x", "s3://bucket/models/7"))


def test_a_champion_with_other_files_than_were_registered_is_met_by_nobody(store, registry):
    model = publish_model(store, "drop-1", "old", publish_split(store, "drop-1", range(3)))
    champion = register(registry, "another digest", f"{model.uri}/model")
    assert "another digest" in lost(store, champion)


def test_a_champion_whose_training_rows_are_gone_is_met_by_nobody(store, registry, tmp_path):
    split = publish_split(store, "drop-1", range(3))
    model = publish_model(store, "drop-1", "old", split)
    (split.path.parent / "manifest.json").unlink()
    said = lost(store, register(registry, model.data_version, f"{model.uri}/model"))
    assert "the rows that it was trained on are not known" in said
