"""Nothing is registered that has not won: what is partial, worse or not finite stops there."""

from __future__ import annotations

import pytest

from ft_assets.provenance.envelope import statement_in
from resources.registry import EmbeddedRegistry
from tests.support.tiny_pipeline import NAME

LAST_TWO = "eval_report,registered_version"
PARTIAL = {"complete": False, "beats_base": False, "beats_champion": True, "no_forgetting": True}


def _versions(pipeline):
    registry = EmbeddedRegistry(path=str(pipeline.home / "registry.db"))
    return [version.version for version in registry.list_versions("tiny-assistant")]


def _models(pipeline):
    return EmbeddedRegistry(path=str(pipeline.home / "registry.db")).list_models()


def _materialized(pipeline, asset, run_id):
    with pipeline.instance() as instance:
        return any(
            entry.dagster_event is not None
            and entry.dagster_event.event_type_value == "ASSET_MATERIALIZATION"
            and entry.dagster_event.asset_key.path[-1] == asset
            for entry in instance.all_logs(run_id)
        )


def test_a_partial_evaluation_is_kept_and_registers_nothing(trained_once, ft):
    (trained_once.home / "registry.db").unlink()

    run = ft(
        trained_once, "run", NAME, "--json", "--select", LAST_TWO, "--set", "evaluation.limit=2"
    )

    assert run.exit_code == 1
    assert run.json["checks"] == PARTIAL
    assert "the evaluation is partial (evaluation.limit)" in run.json["error"]
    assert run.json["made"] == ["eval_report"]
    report = trained_once.artifact("eval_report").manifest.metadata
    assert report["summary"]["partial"]
    assert not report["verdict"]["passed"]
    assert not _materialized(trained_once, "registered_version", run.json["run_id"])
    assert _models(trained_once) == []

    alone = ft(trained_once, "run", NAME, "--json", "--select", "registered_version")

    assert alone.exit_code == 1
    # Not the loser's reason: that report is of another evaluation than the pipeline file's.
    assert alone.json["error"].startswith("not registered: the evaluation block, ")
    assert _models(trained_once) == []

    again = ft(trained_once, "run", NAME, "--json", "--select", "eval_report,registered_version",
               "--set", "evaluation.limit=2")  # fmt: skip
    assert again.json["up_to_date"] == ["eval_report"]
    assert again.json["checks"] == PARTIAL, "a reused report decides the same"


@pytest.mark.slow
def test_a_person_who_overrules_stands_in_the_version_and_in_the_statement(trained_once, ft):
    (trained_once.home / "registry.db").unlink()
    last_two = ("run", NAME, "--json", "--select", LAST_TWO)
    too_few = ("--set", "promotion.min_samples=1000")

    assert ft(trained_once, *last_two, *too_few).exit_code == 1
    assert _models(trained_once) == []

    person = "Ada Lovelace: the old model is withdrawn on Friday"
    run = ft(trained_once, *last_two, *too_few, "--set", f"promotion.overrule={person}")

    assert run.exit_code == 0, run.stderr
    registry = EmbeddedRegistry(path=str(trained_once.home / "registry.db"))
    said = registry.champion("tiny-assistant").properties
    assert said["verdict"] == "overruled"
    assert said["overruled_by"] == "Ada Lovelace"
    assert said["overruled_why"] == "the old model is withdrawn on Friday"
    stated = statement_in(trained_once.artifact("eval_report").manifest.attestation)
    parameters = stated["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["config"]["promotion"]["overrule"] == person


@pytest.mark.slow
def test_a_model_that_became_worse_is_kept_and_registers_nothing(trained_once, ft):
    run = ft(
        trained_once,
        *("run", NAME, "--json", "--select", f"finetuned_model,{LAST_TWO}"),
        *("--set", "training.learning_rate=0.9"),
    )

    assert run.exit_code == 1
    assert run.json["tuned_loss"] > run.json["base_loss"]
    assert run.json["checks"] == {
        "healthy_training": True,
        "complete": True,
        "beats_base": False,
        "beats_champion": False,
        "no_forgetting": True,
    }
    assert "check beats_base: held_out/loss is worse than the base model's: " in run.json["error"]
    assert "check beats_champion: held_out/loss is worse than the champion's" in run.json["error"]
    assert "Traceback" not in run.stdout + run.stderr
    assert not _materialized(trained_once, "registered_version", run.json["run_id"])
    assert _versions(trained_once) == ["1.0.0"]

    alone = ft(trained_once, "run", NAME, "--json", "--select", "registered_version")

    assert alone.exit_code == 1
    assert alone.json["error"].startswith("not registered: held_out/loss is worse")
    assert _versions(trained_once) == ["1.0.0"]


@pytest.mark.slow
def test_a_better_model_is_the_next_version_and_the_champion(trained_once, ft):
    run = ft(
        trained_once,
        *("run", NAME, "--json", "--select", f"finetuned_model,{LAST_TWO}"),
        *("--set", "training.num_epochs=2"),
    )

    assert run.exit_code == 0, run.stderr
    assert (run.json["version"], run.json["stage"]) == ("1.0.1", "champion")
    registry = EmbeddedRegistry(path=str(trained_once.home / "registry.db"))
    assert {v.version: v.stage for v in registry.list_versions("tiny-assistant")} == {
        "1.0.1": "champion",
        "1.0.0": "archived",
    }


def test_an_explicit_version_that_is_taken_is_refused(trained_once, ft):
    run = ft(
        trained_once,
        *("run", NAME, "--json", "--select", "registered_version"),
        *("--set", "registry.version=2.0.0"),
    )
    assert run.exit_code == 1
    assert "registered as version 1.0.0 already, so it cannot be 2.0.0" in run.json["error"]
