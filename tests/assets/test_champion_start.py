"""Which registered version a training starts from, and which finished model may stay as it is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ft_assets.assets.champion_start import (
    ChampionStarts,
    champion_starts,
    located,
    open_start,
    unlike_the_base,
)
from ft_assets.assets.trained_rows import split_of, trained_before
from ft_assets.config import PipelineSpec
from ft_assets.provenance.digest import files_digest
from ft_assets.training.base_model import BaseModelRef
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.plan import TrainPlan
from ft_assets.training.start import Start, recorded_start
from resources.errors import UserError
from resources.registry import EmbeddedRegistry, Registration
from resources.store import Artifact, ArtifactStore

SPEC = PipelineSpec.model_validate(
    {
        "name": "mine",
        "dataset": {"uri": "/data/{partition}.jsonl"},
        "training": {"start_from": "champion"},
        "registry": {"name": "assistant"},
    }
)
BASE = BaseModelRef(
    name="./base", kind="folder", location="/base", digest="b" * 64, hf_token_env="HF_TOKEN"
)


@dataclass
class World:
    """A store and a registry in which models are trained one on top of the other."""

    store: ArtifactStore
    registry: EmbeddedRegistry

    def starts(self, drop: str | None, rows: str = "new rows") -> ChampionStarts:
        return ChampionStarts(self.store, self.registry, SPEC, drop, rows)

    def train(
        self,
        drop: str | None,
        rows: str = "",
        *,
        start: Start | None = None,
        base=BASE,
        config=None,
    ) -> Artifact:
        """A model of a drop, trained on rows of a data version."""
        about = {"provenance": {"config": config or {}}}
        with self.store.publish(["mine", "split_dataset"], drop, metadata=about) as split:
            (split.path / "train.jsonl").write_text(rows or f"rows of {drop}")
            split.data_version = rows or f"rows of {drop}"
        made_from = split.artifact
        assert made_from is not None
        inputs = {
            "asset": "mine/split_dataset",
            "digest": made_from.digest,
            "data_version": made_from.data_version,
            "uri": made_from.uri,
            "partition": drop,
        }
        metadata = {
            "provenance": {"inputs": [inputs]},
            "plan": plan(start, base).model_dump(mode="json"),
        }
        with self.store.publish(["mine", "finetuned_model"], drop, metadata=metadata) as draft:
            (draft.path / "model").mkdir()
            weights = f"{drop} on {rows} from {start}"
            (draft.path / "model" / "model.safetensors").write_text(weights)
            draft.data_version = files_digest(draft.path / "model", ["model.safetensors"])
        assert draft.artifact is not None
        return draft.artifact

    def win(self, model: Artifact) -> str:
        """Put a model in force; its version."""
        return self.registry.register(
            Registration(
                model="assistant",
                digest=model.data_version,
                uri=f"{model.uri}/model",
                author="a test",
            )
        ).version

    def chain(self, drops: int) -> list[Artifact]:
        """Drops that came one after the other, each the champion that the next one starts from."""
        models: list[Artifact] = []
        for number in range(1, drops + 1):
            drop = f"drop-{number}"
            models.append(self.train(drop, start=self.starts(drop).start))
            self.win(models[-1])
        return models


def plan(start: Start | None, base: BaseModelRef) -> TrainPlan:
    return TrainPlan(
        algorithm="sft",
        backend="cpu",
        base_model=base,
        start_from="champion",
        start=start,
        models_dir="/models",
        train_file="train.jsonl",
        held_out_file=None,
        parameters={},
        mask=MaskPolicy(roles_to_train=("assistant",), train_on_inputs=False, train_on_eos="turn"),
        env={},
        checkpoint_choice="last",
        on_unhealthy="stop",
        fingerprint="f",
    )


@pytest.fixture
def world(tmp_path) -> World:
    return World(
        ArtifactStore(root=str(tmp_path / "store")),
        EmbeddedRegistry(path=str(tmp_path / "registry.db")),
    )


def digest(start: Start | None) -> str | None:
    return start.digest if start is not None else None


def test_without_a_champion_the_base_model_is_started_from(world):
    assert world.starts("drop-1").start is None


def test_a_pipeline_that_starts_from_its_base_model_asks_no_registry(world):
    spec = SPEC.model_copy(
        update={"training": SPEC.training.model_copy(update={"start_from": "base"})}
    )
    assert champion_starts(world.store, world.registry, spec, "drop-1") is None


def test_the_next_drop_starts_from_the_champion(world):
    (first,) = world.chain(1)
    start = world.starts("drop-2").start
    assert start is not None
    assert (start.model, start.version, start.trainings) == ("assistant", "1.0.0", 1)
    assert (start.digest, start.artifact) == (first.data_version, first.digest)
    assert (start.base_name, start.base_digest) == (BASE.name, BASE.digest)
    assert open_start(world.store, start) == first


def test_the_line_remembers_its_base_model_and_its_length(world):
    world.chain(3)
    start = world.starts("drop-4").start
    assert start is not None
    assert (start.trainings, start.base_digest, start.version) == (3, BASE.digest, "1.0.2")


def test_a_drop_does_not_start_from_its_own_model(world):
    first, second = world.chain(2)
    assert digest(world.starts("drop-2", "other rows").start) == first.data_version
    world.win(world.train("drop-2", "other rows", start=world.starts("drop-2").start))
    assert digest(world.starts("drop-2", "third rows").start) == first.data_version
    assert second.data_version != first.data_version


def test_the_same_rows_are_not_trained_on_twice_under_another_name(world):
    first, _ = world.chain(2)
    assert digest(world.starts("drop-9", "rows of drop-2").start) == first.data_version


def test_the_first_drop_changed_starts_from_the_base_model_while_its_own_is_in_force(world):
    world.chain(1)
    assert world.starts("drop-1", "corrected rows").start is None


def test_without_drops_new_data_starts_from_the_model_of_the_old(world):
    old = world.train(None, "old rows")
    world.win(old)
    assert digest(world.starts(None, "new rows").start) == old.data_version
    assert world.starts(None, "old rows").start is None


def test_every_model_in_the_champions_line_may_stay(world):
    models = world.chain(4)
    for number, model in enumerate(models, 1):
        _, start = recorded_start(model.manifest.metadata)
        assert world.starts(f"drop-{number}").may_stay(start), number


def test_what_the_champion_was_built_on_is_known_from_before_the_champion_was_started_from(world):
    first, second = world.chain(2)
    loser = world.train("drop-3")
    assert world.starts("drop-1").is_built_on(first.data_version)
    assert not world.starts("drop-3").is_built_on(loser.data_version)
    assert second.data_version != loser.data_version


def test_a_model_that_lost_may_stay_when_another_drop_has_won_since(world):
    world.chain(1)
    loser = world.train("drop-2", start=world.starts("drop-2").start)
    world.win(world.train("drop-3", start=world.starts("drop-3").start))
    _, start = recorded_start(loser.manifest.metadata)
    assert world.starts("drop-2").may_stay(start)


def test_after_a_rollback_what_was_built_on_what_was_taken_back_is_made_again(world):
    models = world.chain(3)
    world.registry.rollback("assistant", "1.0.0", by="me", why="the second drop was bad")
    starts = [recorded_start(model.manifest.metadata)[1] for model in models]
    assert world.starts("drop-2").may_stay(starts[1]), "it was started from what is in force now"
    assert not world.starts("drop-3").may_stay(starts[2]), "it was started from the second"
    assert digest(world.starts("drop-3").start) == models[0].data_version


def test_a_line_that_cannot_be_followed_makes_nothing_again(world):
    models = world.chain(3)
    (models[1].path.parent / "manifest.json").unlink()
    strange = Start(
        model="assistant",
        version="0.0.1",
        digest="0" * 64,
        asset="mine/finetuned_model",
        partition="drop-0",
        artifact="0" * 64,
        base_name="x",
        base_digest="x",
        trainings=1,
    )
    assert world.starts("drop-4").may_stay(strange)


def test_a_start_that_is_gone_says_what_to_do(world):
    (first,) = world.chain(1)
    start = world.starts("drop-2").start
    assert start is not None
    (first.path.parent / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"assistant 1\.0\.0 cannot be started from.*promote"):
        open_start(world.store, start)


def test_a_damaged_start_is_not_trained_on(world):
    (first,) = world.chain(1)
    start = world.starts("drop-2").start
    assert start is not None
    ref = located(world.store, start, SPEC)
    assert (ref.location, ref.digest) == (str(first.path / "model"), first.data_version)
    (first.path / "model" / "model.safetensors").write_text("flipped")
    with pytest.raises(UserError, match=r"not what was registered: model/model\.safetensors"):
        located(world.store, start, SPEC)


def test_a_champion_of_another_base_model_is_said(world):
    other = BASE.model_copy(update={"name": "./other", "digest": "c" * 64})
    world.win(world.train("drop-1", base=other))
    start = world.starts("drop-2").start
    assert "began with ./other" in (unlike_the_base(start, BASE) or "")
    assert unlike_the_base(start, other) is None
    assert unlike_the_base(None, BASE) is None


def test_what_either_model_was_built_on_counts_as_trained_on(world):
    models = world.chain(3)
    candidate = world.train("drop-4", start=world.starts("drop-4").start)
    own = split_of(world.store, candidate)
    before = trained_before(world.store, candidate, models[1], own)
    assert {split.partition for split in before} == {"drop-1", "drop-2", "drop-3"}


@pytest.mark.parametrize(
    ("changed", "looked_through"),
    [({}, 0), ({"seed": 2}, 1), ({"group_by": "user"}, 1), ({"eval_uri": "/x.jsonl"}, 1)],
)
def test_a_split_that_divides_rows_alike_is_not_looked_through(world, changed, looked_through):
    config = {"split": 0.9, "seed": 1, "group_by": None, "eval_uri": None, **changed}
    first = world.train("drop-1", config=config)
    own = world.train("drop-2", config={**config, "seed": 1})
    before = trained_before(world.store, own, first, split_of(world.store, own))
    assert len(list(before)) == looked_through
