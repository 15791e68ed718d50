"""``ft plan`` says what a run needs and starts nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from tests.support.tiny_pipeline import NAME, clean_environment


def test_a_plan_without_data_says_nothing_of_the_data(tiny, ft):
    call = ft(tiny, "plan", NAME, "--json")
    assert call.exit_code == 0, call.stderr
    plan = call.json
    assert (plan["pipeline"], plan["partition"], plan["backend"]) == (NAME, "drop-1", "cpu")
    assert plan["fits"]
    assert plan["memory_gib"]["available"] == 1.0
    for unknown in ("rows", "rows_dropped", "steps", "tokens", "hours", "cost"):
        assert plan[unknown] is None
    assert plan["data"].startswith("not materialized")
    assert {path.name for path in tiny.home.iterdir()} == {"dagster"}


def test_the_parameters_are_those_of_the_model(tiny, ft, tiny_base_model):
    from transformers import AutoModelForCausalLM

    plan = ft(tiny, "plan", NAME, "--json").json
    model = AutoModelForCausalLM.from_pretrained(tiny_base_model)
    assert plan["parameters"] == plan["trainable_parameters"] == model.num_parameters()


def test_settings_are_for_this_plan_alone(tiny, ft):
    given = ["--set", "training.algorithm=osft", "--set", "kubernetes.memory=500Gi"]
    plan = ft(tiny, "plan", NAME, *given, "--json").json
    assert plan["algorithm"] == "osft"
    assert "low-rank factors" in plan["trainable"]
    assert plan["pod"]["container_config"]["resources"]["limits"]["memory"] == "500Gi"
    assert ft(tiny, "plan", NAME, "--json").json["algorithm"] == "sft"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.no_such=1", "--set training.no_such: there is no such parameter"),
        ("dataset.split=0.5", "--set dataset.split: there is no such parameter"),
        ("training.num_epochs=0", "--set: training.num_epochs"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(tiny, ft, setting, said):
    call = ft(tiny, "plan", NAME, "--set", setting, "--json")
    assert call.exit_code == 1
    assert call.json["error"].startswith(said)


def test_a_run_that_does_not_fit_gets_remedies(tiny, ft):
    plan = ft(tiny, "plan", NAME, "--set", "kubernetes.memory=300Mi", "--json").json
    assert plan["verdict"] == "too_large"
    assert any("kubernetes.memory" in remedy for remedy in plan["remedies"])


def test_what_a_run_would_refuse_is_part_of_the_plan(tiny, ft):
    plan = ft(tiny, "plan", NAME, "--set", "training.use_liger=true", "--json").json
    assert any(w.startswith("a run is refused: training.use_liger") for w in plan["warnings"])


def test_for_people_it_is_tables_and_the_pod_as_yaml(tiny, ft):
    call = ft(tiny, "plan", NAME, COLUMNS="200")
    assert call.exit_code == 0
    for part in ("weights", "gradients", "optimizer", "activations", "logits", "buffers"):
        assert part in call.stdout
    pod = call.stdout.split("pod that will be asked for:\n")[1]
    assert yaml.safe_load(pod)["container_config"]["resources"]["requests"]["cpu"] == "1"


def test_after_a_run_rows_steps_and_speed_are_those_of_the_run(trained, ft):
    plan = ft(trained.pipeline, "plan", NAME, "--json").json
    outcome = trained.pipeline.artifact("finetuned_model").manifest.metadata["outcome"]
    assert (plan["rows"], plan["steps"]) == (outcome["rows"], outcome["steps"])
    assert (plan["tokens"], plan["trained_tokens"]) == (
        outcome["tokens"],
        outcome["trained_tokens"],
    )
    assert plan["rows_dropped"] == outcome["rows_too_long"] + outcome["rows_untrained"]
    assert plan["speed_from"] == "the run before"
    assert plan["tokens_per_second"] == pytest.approx(outcome["tokens_per_second"], abs=0.1)
    assert plan["cost"] is None


def test_a_report_of_another_base_model_is_not_used(trained_once, ft, tmp_path):
    from tests.support.tiny_model import make_tiny_model

    other = make_tiny_model(tmp_path / "other", seed=1)
    plan = ft(trained_once, "plan", NAME, "--set", f"training.base_model={other}", "--json").json
    assert plan["rows"] is None
    assert plan["data"].startswith("the token report is of another base model")


@pytest.mark.slow
def test_no_torch_is_imported(tiny):
    program = (
        "import sys\n"
        "from ft_assets.cli import main\n"
        "try: main(['plan', 'tiny', '--json'])\n"
        "finally: print(*sorted({'torch', 'transformers'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(tiny.environment),
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr.split() == []
