"""What the commands print that start no run: one JSON object for programs, a table for people."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.support.tiny_pipeline import NAME


def test_list_has_the_built_in_pipelines_and_ones_own(tiny, ft):
    call = ft(tiny, "list", "--json")
    assert call.exit_code == 0
    by_name = {pipeline["name"]: pipeline for pipeline in call.json["pipelines"]}
    assert by_name.keys() >= {"demo", "lora", "osft", "sft", NAME}
    assert by_name[NAME] == {
        "name": NAME,
        "file": str(tiny.file),
        "partitioned": True,
        "algorithm": "sft",
        "base_model": str(tiny.root / "base-model"),
        "dataset": f"{tiny.data}/{{partition}}.jsonl",
        "description": "A tiny model, for tests.",
    }


def test_list_is_a_table_without_the_option(tiny, ft):
    call = ft(tiny, "list", COLUMNS="200")
    assert call.exit_code == 0
    assert "pipeline" in call.stdout
    assert any(NAME in line and "A tiny model" in line for line in call.stdout.splitlines())


def test_a_pipeline_of_ones_own_takes_the_place_of_a_built_in_one(tiny, ft):
    tiny.file.rename(tiny.file.with_name("demo.yaml"))
    by_name = {p["name"]: p for p in ft(tiny, "list", "--json").json["pipelines"]}
    assert by_name["demo"]["description"] == "A tiny model, for tests."


def test_check_names_the_valid_pipelines(tiny, ft):
    call = ft(tiny, "check", "--json")
    assert call.exit_code == 0
    assert call.json == {"valid": ["demo", "lora", "osft", "sft", NAME], "advice": {}}
    assert ft(tiny, "check").stdout == "5 pipelines are valid: demo, lora, osft, sft, tiny\n"


def test_check_says_what_is_valid_and_hardly_meant(tiny, ft):
    tiny.write({"automation": {"enabled": True}})
    assert list(ft(tiny, "check", "--json").json["advice"]) == [NAME]
    assert "tiny: automation.enabled trains on every new drop" in ft(tiny, "check").stdout


def test_check_refuses_an_invalid_pipeline_and_points_at_the_line(tiny, ft):
    tiny.write({"dataset": {"uri": ""}})
    call = ft(tiny, "check", "--json")
    assert call.exit_code == 1
    assert call.json["error"].startswith(f"{tiny.file}:")
    assert "Traceback" not in call.stderr


def test_two_files_of_one_name_are_refused(tiny, ft):
    tiny.file.with_name("other.yaml").write_text(f"name: {NAME}\n{tiny.file.read_text()}")
    call = ft(tiny, "check", "--json")
    assert call.exit_code == 1
    assert f"both name the pipeline '{NAME}'" in call.json["error"]


def test_check_starts_nothing(tiny, ft):
    ft(tiny, "check")
    assert {path.name for path in tiny.home.iterdir()} == {"dagster"}


def test_the_registry_of_a_new_home_is_empty(tiny, ft):
    assert ft(tiny, "registry", "list", "--json").json == {"models": []}
    assert ft(tiny, "registry", "list").stdout == "The registry is empty: run a pipeline first.\n"


def test_registry_list_has_models_and_their_champions(trained, ft):
    (model,) = ft(trained.pipeline, "registry", "list", "--json").json["models"]
    assert (model["name"], model["champion"], model["state"]) == ("tiny-assistant", "1.0.0", "LIVE")


def test_registry_list_has_the_versions_of_a_model(trained, ft):
    result = ft(trained.pipeline, "registry", "list", "tiny-assistant", "--json").json
    assert result["model"] == "tiny-assistant"
    (found,) = result["versions"]
    assert found["version"] == "1.0.0"
    assert found["properties"]["held_out_loss"] == trained.result["tuned_loss"]
    table = ft(trained.pipeline, "registry", "list", "tiny-assistant", COLUMNS="200").stdout
    assert "1.0.0" in table
    assert f"{trained.result['tuned_loss']:.4f}" in table


def test_registry_show_gives_a_version_or_the_champion(trained, ft):
    champion = ft(trained.pipeline, "registry", "show", "tiny-assistant", "--json").json
    named = ft(trained.pipeline, "registry", "show", "tiny-assistant", "1.0.0", "--json").json
    assert champion == named
    assert champion["stage"] == "champion"
    assert champion["artifact"]["uri"].startswith(str(trained.pipeline.home))
    text = ft(trained.pipeline, "registry", "show", "tiny-assistant", COLUMNS="200").stdout
    assert champion["artifact"]["digest"] in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("list", "nobody"), "nobody"),
        (("show", "nobody"), "model 'nobody' has no champion"),
        (("show", "tiny-assistant", "9.9.9"), "1.0.0"),
    ],
)
def test_the_registry_refuses_what_it_does_not_have(trained, ft, arguments, expected):
    call = ft(trained.pipeline, "registry", *arguments, "--json")
    assert call.exit_code == 1
    assert expected in call.json["error"]
    assert "Traceback" not in call.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("run",), ("demo",), ("list",), ("check",), ("ui",), ("registry",), ("registry", "show")],
    ids=" ".join,
)
def test_help_says_what_a_command_does_and_touches_nothing(tiny, ft, arguments):
    call = ft(tiny, *arguments, "--help")
    assert call.exit_code == 0
    assert call.stdout.startswith(f"Usage: ft {' '.join(arguments)}".rstrip())
    assert not tiny.home.exists()


def test_the_version_is_the_packages(tiny, ft):
    assert version("ft-assets") in ft(tiny, "--version").stdout


def test_an_unknown_option_is_a_usage_error(tiny, ft):
    call = ft(tiny, "run", NAME, "--forse")
    assert call.exit_code == 2
    assert "--forse" in call.stderr
    assert call.stdout == ""


def test_the_result_is_a_table_for_people(trained_once, ft):
    call = ft(trained_once, "run", NAME, COLUMNS="200")
    assert call.exit_code == 0
    assert "tiny, drop drop-1" in call.stdout
    assert "tiny-assistant 1.0.0 (champion)" in call.stdout
    assert "(--force does the work again)" in call.stdout


def test_text_and_json_tell_the_same_losses(trained, trained_once, ft):
    text = ft(trained_once, "run", NAME, COLUMNS="200").stdout
    result = trained.result
    assert f"{result['base_loss']:.3f} base, {result['tuned_loss']:.3f} tuned" in text


def test_what_steps_print_never_reaches_stdout(trained):
    (line,) = trained.call.stdout.splitlines()
    assert isinstance(json.loads(line), dict)
