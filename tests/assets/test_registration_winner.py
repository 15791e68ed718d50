"""What a registration is refused for at the last moment, when no check stands before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ft_assets.assets.eval_job import CODE_VERSION
from ft_assets.assets.evaluating import measured
from ft_assets.assets.winner import (
    refuse_loser,
    refuse_other_measures,
    refuse_other_rules,
    verdict_on,
)
from ft_assets.config import PipelineSpec
from ft_assets.court import Overrule, Verdict
from ft_assets.court.verdict import Settings
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.provenance.own_tasks import tasks_digest
from resources.errors import UserError
from resources.registry import (
    EmbeddedRegistry,
    Registration,
    RegistryHub,
    RegistrySettings,
    open_registry,
)
from resources.store import Artifact, ArtifactStore

WON = Verdict(passed=True, reason="it is better")
LOST = Verdict(passed=False, reason="it is worse")
OVERRULED = WON.model_copy(update={"overruled": Overrule(name="ann", reason="it is urgent")})
PLAN: dict[str, Any] = {
    "algorithm": "sft",
    "backend": "cpu",
    "models_dir": "/models",
    "train_file": "/train.jsonl",
    "held_out_file": None,
    "parameters": {},
    "mask": {},
    "env": {},
    "checkpoint_choice": "last",
    "on_unhealthy": "stop",
    "fingerprint": "f" * 64,
}
SICK = {"code": "nan", "severity": "error", "step": 3, "seen": "NaN", "remedy": "lower the rate"}


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(root=str(tmp_path / "artifacts"))


@pytest.fixture
def registry(tmp_path) -> EmbeddedRegistry:
    return EmbeddedRegistry(path=str(tmp_path / "models.db"))


def publish(store: ArtifactStore, asset: str, **metadata: Any) -> Artifact:
    with store.publish(["mine", asset], None, metadata=metadata) as draft:
        (draft.path / "file").write_text(asset)
    assert draft.artifact is not None
    return draft.artifact


def model(store: ArtifactStore, health: list[dict[str, Any]] | None = None) -> Artifact:
    return publish(store, "finetuned_model", health=health or [])


def report(
    store: ArtifactStore,
    about: Artifact,
    *,
    verdict: Verdict = WON,
    champion: str | None = None,
    **changed: Any,
) -> Artifact:
    digests = {"base": "b", "tuned": about.data_version}
    summary = EvaluationSummary(
        models={},
        partial=False,
        model_digests=digests if champion is None else {**digests, "champion": champion},
    )
    metadata: dict[str, Any] = {
        "model_data_version": about.data_version,
        "verdict": verdict.model_dump(mode="json"),
        "summary": summary.model_dump(mode="json"),
    }
    return publish(store, "eval_report", **(metadata | changed))


def register(registry: EmbeddedRegistry, digest: str) -> None:
    registry.register(Registration(model="m", digest=digest, uri=f"s3://m/{digest}", author="run"))


# --- the verdict


def test_a_model_that_won_is_registered_by_its_verdict(store):
    candidate = model(store)
    for verdict in (WON, OVERRULED):
        assert verdict_on(candidate, report(store, candidate, verdict=verdict)) == verdict
        refuse_loser(verdict)


def test_a_model_that_lost_is_refused_with_the_reason(store):
    candidate = model(store)
    with pytest.raises(UserError, match="not registered: it is worse"):
        refuse_loser(verdict_on(candidate, report(store, candidate, verdict=LOST)))


def test_a_report_about_another_model_is_refused(store):
    candidate = model(store)
    other = report(store, candidate, model_data_version="another")
    with pytest.raises(UserError, match="about another model than the current one"):
        verdict_on(candidate, other)


def test_an_unhealthy_training_is_refused_whatever_the_verdict(store):
    candidate = model(store, health=[SICK])
    with pytest.raises(UserError, match="the training was not healthy"):
        verdict_on(candidate, report(store, candidate, verdict=OVERRULED))


# --- the rules


@pytest.fixture
def spec():
    return PipelineSpec.model_validate(
        {
            "name": "mine",
            "dataset": {"uri": "rows.jsonl"},
            "training": {"base_model": "org/model"},
            "evaluation": {"tasks": ["arc_easy"]},
        }
    )


def judged_by(spec: PipelineSpec, **changed: Any) -> Verdict:
    rules = spec.promotion.model_copy(update=changed)
    return WON.model_copy(update={"settings": Settings(promotion=rules, tasks=["arc_easy"])})


def test_a_verdict_by_the_rules_in_force_counts(spec):
    refuse_other_rules(judged_by(spec), spec)
    refuse_other_rules(judged_by(spec, overrule="ann: it is urgent"), spec)


def test_a_verdict_by_other_rules_is_refused_and_the_rule_is_named(spec):
    with pytest.raises(UserError, match=r"promotion\.min_samples changed since the verdict"):
        refuse_other_rules(judged_by(spec, min_samples=2), spec)


def test_a_verdict_about_other_tasks_is_refused(spec):
    verdict = WON.model_copy(update={"settings": Settings(promotion=spec.promotion, tasks=[])})
    with pytest.raises(UserError, match=r"evaluation\.tasks changed since the verdict"):
        refuse_other_rules(verdict, spec)


def test_a_verdict_without_rules_is_refused(spec):
    with pytest.raises(UserError, match="the verdict names no rules"):
        refuse_other_rules(WON, spec)


# --- the measures


class ThisStep:
    """What is asked of a step to know what an evaluation would measure."""

    def __init__(self, spec: PipelineSpec, folder: Path | None = None) -> None:
        self.spec, self.folder = spec, folder

    @property
    def own_tasks(self) -> str | None:
        return None if self.folder is None else tasks_digest(self.folder)


def measured_report(store: ArtifactStore, step: Any, champion: str | None = None):
    """A model and a report about it, with the digest of what was measured."""
    split = publish(store, "split_dataset", report={"held_out_digest": "rows"})
    base = {"name": "b", "kind": "folder", "location": "/b", "digest": "b", "hf_token_env": "T"}
    candidate = publish(store, "finetuned_model", health=[], plan=PLAN | {"base_model": base})
    models = {"base": "b", "champion": champion, "tuned": candidate.data_version}
    made_from = {"asset": "mine/split_dataset", "digest": split.digest, "partition": None}
    about = report(
        store,
        candidate,
        champion=champion,
        measured=measured(step, split, models, CODE_VERSION),
        provenance={"inputs": [made_from]},
    )
    return candidate, about


@pytest.mark.parametrize("champion", [None, "c1"])
def test_a_report_of_what_would_be_measured_now_counts(store, spec, champion):
    step: Any = ThisStep(spec)
    refuse_other_measures(step, store, *measured_report(store, step, champion))


@pytest.mark.parametrize("changed", [{"limit": 2}, {"tasks": []}, {"seed": 7}])
def test_a_report_by_another_evaluation_block_is_refused(store, spec, changed):
    candidate, about = measured_report(store, ThisStep(spec))
    evaluation = spec.evaluation.model_copy(update=changed)
    now: Any = ThisStep(spec.model_copy(update={"evaluation": evaluation}))
    with pytest.raises(UserError, match=r"the evaluation block, .* changed .* eval_report again"):
        refuse_other_measures(now, store, candidate, about)


def test_a_report_by_another_task_file_is_refused_and_pythons_cache_is_no_task(
    store, spec, tmp_path
):
    folder = tmp_path / "tasks"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "mine.yaml").write_text("task: mine")
    step: Any = ThisStep(spec, folder)
    candidate, about = measured_report(store, step)

    for left_over in ("__pycache__/utils.cpython-311.pyc", "utils.pyc", ".mine.yaml.swp"):
        (folder / left_over).write_text("left over")
    refuse_other_measures(step, store, candidate, about)

    (folder / "mine.yaml").write_text("task: another")
    with pytest.raises(UserError, match=r"tasks .* changed since the report was made"):
        refuse_other_measures(step, store, candidate, about)


# --- the resource


def test_a_registry_can_be_put_in_the_hubs_place(registry):
    """As tests of a deployment do: ``build_defs({"registry": EmbeddedRegistry(...)})``."""
    register(registry, "c1")

    @dg.asset
    def asks(registry: RegistryHub) -> str:
        opened = open_registry(registry, RegistrySettings(address="https://nowhere"))
        return opened.champion("m").version

    made = dg.materialize([asks], resources={"registry": registry})
    assert made.output_for_node("asks") == "1.0.0"


def test_the_hub_gives_the_registry_of_this_home(tmp_path: Path):
    @dg.asset
    def asks(registry: RegistryHub) -> str:
        return open_registry(registry, RegistrySettings()).path

    hub = RegistryHub(path=str(tmp_path / "registry.db"))
    made = dg.materialize([asks], resources={"registry": hub})
    assert made.output_for_node("asks") == str(tmp_path / "registry.db")
