"""What a registered version says about itself, from the manifests of what stands behind it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ft_assets.assets.registration import durable, registration_of
from ft_assets.config import PipelineSpec
from ft_assets.court import Comparison, Overrule, Verdict
from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary, ModelSummary
from ft_assets.provenance.builder import processor
from ft_assets.provenance.code import this_code
from ft_assets.provenance.digest import value_digest
from ft_assets.provenance.record import InputRecord, ProvenanceRecord
from resources.errors import UserError
from resources.registry import EmbeddedRegistry, RegistryHub
from resources.registry.rules import check_registration
from resources.store import Artifact, ArtifactStore

SPEC = PipelineSpec.model_validate(
    {
        "name": "mine",
        "dataset": {"uri": "/data/{partition}.jsonl"},
        "registry": {"name": "my-model", "author": "me"},
        "kubernetes": {"gpu_hour_price": 2.0},
    }
)
DROP = "drop-1"
OUTCOME: dict[str, Any] = {
    "model_dir": "hf_format/4",
    "base_model_dir": "/models/base",
    "steps": 4,
    "epochs": 1.0,
    "rows": 32,
    "rows_too_long": 0,
    "rows_untrained": 0,
    "rows_cut": 0,
    "tokens": 5_000_000_000,
    "trained_tokens": 800,
    "train_seconds": 1800.0,
    "tokens_per_second": 55.5,
    "first_loss": 3.0,
    "last_loss": 2.5,
    "peak_memory_mib": 900.5,
    "resumed_from_step": 0,
    "settings": {"precision": "bf16"},
}
PLAN: dict[str, Any] = {
    "algorithm": "sft",
    "backend": "instructlab-training",
    "base_model": {
        "name": "org/base",
        "kind": "hub",
        "location": "org/base",
        "revision": "abc123",
        "digest": "b" * 64,
        "hf_token_env": "HF_TOKEN",
    },
    "models_dir": "/models",
    "train_file": "/train.jsonl",
    "held_out_file": None,
    "parameters": {"nproc_per_node": 2},
    "mask": {},
    "env": {},
    "checkpoint_choice": "last",
    "on_unhealthy": "stop",
    "fingerprint": "f" * 64,
}


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(root=str(tmp_path / "artifacts"))


def publish(store: ArtifactStore, asset: str, inputs: list[Artifact], **metadata: Any) -> Artifact:
    record = ProvenanceRecord(
        pipeline="mine",
        asset=asset,
        partition=DROP,
        run_id=f"run of {asset}",
        code_version="7",
        config={"asset": asset},
        inputs=[
            InputRecord(
                asset="/".join(one.key),
                digest=one.digest,
                data_version=one.data_version,
                uri=one.uri,
            )
            for one in inputs
        ],
        started_at="2026-01-01T00:00:00+00:00",
    )
    values = {"provenance": record.model_dump(mode="json"), **metadata}
    with store.publish(["mine", asset], DROP, metadata=values) as draft:
        (draft.path / "file").write_text(asset)
    assert draft.artifact is not None
    return draft.artifact


def held_out(loss: float) -> HeldOutSummary:
    return HeldOutSummary(
        loss=loss,
        loss_stderr=0.01,
        perplexity=math.exp(loss),
        perplexity_stderr=None,
        token_accuracy=0.5,
        token_accuracy_stderr=0.02,
        rows=8,
        tokens=100,
        truncated=0,
        skipped=0,
    )


SUMMARY = EvaluationSummary(
    models={
        "base": ModelSummary(held_out=held_out(3.0), tasks={"arc_easy": {"acc": 0.25}}),
        "tuned": ModelSummary(
            held_out=held_out(2.5), tasks={"arc_easy": {"acc": 0.5, "acc_stderr": 0.1}}
        ),
    },
    partial=False,
    seconds={"base": 1.5, "tuned": 2.0},
)
WON = Verdict(
    passed=True,
    reason="it is better",
    comparisons=[
        Comparison(
            check="beats_base",
            task="held_out",
            metric="loss",
            against="base",
            rule="better",
            candidate=2.5,
            other=3.0,
            difference=-0.5,
            low=-0.6,
            high=-0.4,
            p_value=0.001,
            samples=8,
            passed=True,
            reason="lower",
        )
    ],
)


@pytest.fixture
def made_from(store) -> dict[str, Artifact]:
    return make(store)


def make(
    store: ArtifactStore,
    *,
    plan: dict[str, Any] = PLAN,
    summary: EvaluationSummary = SUMMARY,
    **outcome: Any,
) -> dict[str, Artifact]:
    raw = publish(store, "raw_dataset", [])
    split = publish(store, "split_dataset", [raw])
    model = publish(store, "finetuned_model", [split], plan=plan, outcome=OUTCOME | outcome)
    report = publish(store, "eval_report", [split, model], summary=summary.model_dump(mode="json"))
    return {
        "raw_dataset": raw,
        "split_dataset": split,
        "finetuned_model": model,
        "eval_report": report,
    }


def registration(made_from: dict[str, Artifact], verdict: Verdict = WON, spec=SPEC):
    made = registration_of(
        spec, partition=DROP, run_id="run-9", made_from=made_from, verdict=verdict
    )
    check_registration(made)
    return made


def test_name_version_author_and_place_come_from_the_block(made_from):
    made = registration(made_from)
    model = made_from["finetuned_model"]
    assert (made.model, made.version, made.author) == ("my-model", "auto", "me")
    assert (made.digest, made.uri) == (model.data_version, f"{model.uri}/model")
    assert made.description == "Pipeline mine on drop drop-1"


def test_lineage_is_named_by_asset(made_from):
    properties = registration(made_from).properties
    assert (properties["pipeline"], properties["partition"]) == ("mine", DROP)
    assert (properties["run_id"], properties["config_digest"]) == ("run-9", SPEC.digest)
    assert properties["asset_keys"] == (
        "mine/eval_report, mine/finetuned_model, mine/raw_dataset, mine/split_dataset"
    )
    for asset, artifact in made_from.items():
        assert properties[f"{asset}.data_version"] == artifact.data_version
        assert properties[f"{asset}.digest"] == artifact.digest
        assert properties[f"{asset}.code_version"] == "7"
        assert properties[f"{asset}.code_digest"] == this_code().digest
        assert properties[f"{asset}.config_digest"] == value_digest({"asset": asset})
        assert properties[f"{asset}.run_id"] == f"run of {asset}"


def test_data_that_is_no_longer_kept_is_still_named(made_from):
    split = made_from.pop("split_dataset")
    made_from.pop("raw_dataset")
    properties = registration(made_from).properties
    assert properties["split_dataset.data_version"] == split.data_version
    assert "split_dataset.code_version" not in properties


def test_numbers_are_numbers(made_from):
    properties = registration(made_from).properties
    expected = {
        "training_rows": 32,
        "training_steps": 4,
        "training_tokens": 5_000_000_000,
        "training_seconds": 1800.0,
        "peak_memory_mib": 900.5,
        "gpus": 2,
        "gpu_hours": 1.0,
        "training_cost": 2.0,
        "held_out_loss": 2.5,
        "held_out_loss_stderr": 0.01,
        "held_out_rows": 8,
        "base_held_out_loss": 3.0,
        "arc_easy.acc": 0.5,
        "arc_easy.acc_stderr": 0.1,
        "base_arc_easy.acc": 0.25,
        "evaluation_seconds": 3.5,
    }
    found = {name: properties[name] for name in expected}
    assert found == expected
    assert {n: type(v) for n, v in found.items()} == {n: type(v) for n, v in expected.items()}


def test_the_gpus_of_all_nodes_count(store):
    parameters = {"nproc_per_node": 2, "nnodes": 3}
    properties = registration(make(store, plan=PLAN | {"parameters": parameters})).properties
    found = [properties[name] for name in ("gpus", "gpu_hours", "training_cost")]
    assert found == [6, 3.0, 6.0]
    # The step only waited for the nodes: what its own pod has is not what trained.
    assert not {"processor", "gpu_models"} & properties.keys()


def test_it_replaces_the_champion_that_the_report_compares_it_with_alone(store):
    assert registration(make(store)).replaces is None
    digests = {"base": "b", "champion": "c1", "tuned": "t"}
    compared = SUMMARY.model_copy(update={"model_digests": digests})
    overruled = WON.model_copy(update={"overruled": Overrule(name="ann", reason="it is urgent")})
    for verdict in (WON, overruled):
        assert registration(make(store, summary=compared), verdict).replaces == "c1"


def test_base_model_and_recipe_are_texts(made_from):
    properties = registration(made_from).properties
    assert properties["base_model"] == "org/base"
    assert properties["base_model_revision"] == "abc123"
    assert properties["base_model_digest"] == "b" * 64
    assert (properties["algorithm"], properties["backend"]) == ("sft", "instructlab-training")
    assert properties["precision"] == "bf16"
    assert properties["hardware"]
    assert properties["processor"] == processor()


def test_what_is_not_known_is_left_out(store):
    made_from = make(store, tokens_per_second=None, last_loss=None, resumed_from_step=2)
    properties = registration(made_from).properties
    for name in (
        "training_tokens_per_second",
        "training_loss",
        "training_seconds",  # of a resumed run it would be that of its last attempt
        "gpu_hours",
        "training_cost",
        "held_out_perplexity_stderr",
        "overruled_by",
    ):
        assert name not in properties, name


def test_the_verdict_comes_with_its_intervals(made_from):
    properties = registration(made_from).properties
    assert (properties["verdict"], properties["verdict_reason"]) == ("won", "it is better")
    assert {
        name.rpartition(".")[2]: value
        for name, value in properties.items()
        if name.startswith("court.base.held_out.loss.")
    } == {"difference": -0.5, "low": -0.6, "high": -0.4, "p_value": 0.001, "samples": 8}


def test_who_overruled_the_court_is_recorded(made_from):
    overruled = WON.model_copy(update={"overruled": Overrule(name="ann", reason="it is urgent")})
    properties = registration(made_from, overruled).properties
    assert properties["verdict"] == "overruled"
    assert (properties["overruled_by"], properties["overruled_why"]) == ("ann", "it is urgent")


def test_the_image_is_what_the_deployment_says(store, monkeypatch):
    monkeypatch.delenv("FT_IMAGE", raising=False)
    monkeypatch.delenv("DAGSTER_CURRENT_IMAGE", raising=False)
    made_from = make(store)
    assert "image" not in registration(made_from).properties
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", "registry/light:1")
    assert registration(made_from).properties["image"] == "registry/light:1"
    monkeypatch.setenv("FT_IMAGE", "registry/ft:2")
    assert registration(made_from).properties["image"] == "registry/ft:2"


def test_the_image_that_trained_counts_before_that_of_the_registering_pod(store, monkeypatch):
    monkeypatch.setenv("FT_IMAGE", "registry/train:1")
    made_from = make(store)
    monkeypatch.setenv("FT_IMAGE", "registry/light:1")
    assert registration(made_from).properties["image"] == "registry/train:1"


def test_a_registry_keeps_all_of_it(made_from, tmp_path):
    made = registration(made_from)
    registered = EmbeddedRegistry(path=str(tmp_path / "models.db")).register(made)
    assert registered.properties == made.properties


def test_in_a_cluster_a_path_of_the_pod_is_refused_and_a_bucket_is_not(made_from, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(UserError, match=r"a path of this pod .* FT_STORE to s3://"):
        registration(made_from)
    assert durable("s3://models/mine") == "s3://models/mine"


def test_the_hub_of_the_definitions_is_what_assets_get(tmp_path, monkeypatch):
    from ft_assets.code_location import default_resources

    monkeypatch.setenv("FT_HOME", str(tmp_path))
    hub = default_resources()["registry"]
    assert isinstance(hub, RegistryHub)
    assert hub.path == str(tmp_path / "registry.db")
