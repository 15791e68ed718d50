"""A run as Dagster sees it: observed while it trains, judged when it is over."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.training.metrics import read_metrics
from tests.support.tiny_pipeline import NAME


def _events(pipeline, run_id, kind):
    with pipeline.instance() as instance:
        return [
            entry
            for entry in instance.all_logs(run_id)
            if entry.dagster_event is not None and entry.dagster_event.event_type == kind
        ]


def test_the_steps_are_observations_of_the_drop_while_it_trains(trained):
    run_id = trained.result["run_id"]
    observed = _events(trained.pipeline, run_id, dg.DagsterEventType.ASSET_OBSERVATION)
    made = _events(trained.pipeline, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    (model,) = [entry for entry in made if entry.step_key == f"{NAME}__finetuned_model"]
    steps = list(read_metrics(trained.pipeline.artifact("finetuned_model").file("metrics.jsonl")))
    observations = [e.dagster_event.asset_observation_data.asset_observation for e in observed]
    assert {o.asset_key for o in observations} == {dg.AssetKey([NAME, "finetuned_model"])}
    assert {o.partition for o in observations} == {"drop-1"}
    assert observations[0].metadata["step"].value == 1
    assert observations[0].metadata["loss"].value == pytest.approx(steps[0].loss)
    assert observations[-1].metadata["step"].value == steps[-1].step
    assert observations[-1].metadata["loss"].value == pytest.approx(steps[-1].loss)
    assert all(entry.timestamp < model.timestamp for entry in observed)


@pytest.mark.slow
def test_a_model_of_an_unhealthy_run_is_kept_and_nothing_is_made_of_it(tiny, ft):
    lost = {
        "learning_rate": 0.9,
        "num_epochs": 6,
        "max_grad_norm": 1e6,
        "on_unhealthy": "warn",
    }
    tiny.write({"training": lost})
    run = ft(tiny, "run", NAME, "--json")
    assert run.exit_code == 1
    assert run.json["checks"]["healthy_training"] is False
    assert "eval_report" not in run.json["made"]
    assert "finetuned_model" in tiny.artifacts()
    again = ft(tiny, "run", NAME, "--json")
    assert again.exit_code == 1
    assert "finetuned_model" in again.json["up_to_date"]
    assert again.json["checks"]["healthy_training"] is False, "a reused model is judged the same"
    assert "eval_report" not in tiny.artifacts()


@pytest.mark.slow
def test_stop_ends_an_unhealthy_run_with_the_remedy(tiny, ft):
    lost = {"learning_rate": 0.9, "num_epochs": 6, "max_grad_norm": 1e6}
    tiny.write({"training": lost})
    run = ft(tiny, "run", NAME, "--json")
    assert run.exit_code == 1
    assert "lower training.learning_rate" in run.json["error"]
    assert "finetuned_model" not in tiny.artifacts()
