"""``ft registry``: promoting, going back, the history, and which registry is meant."""

from __future__ import annotations

import json

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result

from ft_assets.cli import registry as cli
from ft_assets.cli.output import Commands
from ft_assets.running import open_instance
from resources.errors import UserError
from resources.registry import EmbeddedRegistry, Registration

MODEL = "tiny-assistant"
WHY = ("--why", "it answers in rhymes")


@pytest.fixture(scope="module")
def dagster_home(tmp_path_factory):
    """One for all tests here: a new one costs a second."""
    return tmp_path_factory.mktemp("dagster")


@pytest.fixture
def home(tmp_path, monkeypatch, dagster_home):
    for name in ("KUBERNETES_SERVICE_HOST", "FT_REGISTRY_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))
    monkeypatch.setenv("FT_PIPELINES", str(tmp_path / "pipelines"))
    write_pipeline(tmp_path, "tiny", name=MODEL)
    return tmp_path


def write_pipeline(folder, pipeline: str, **registry: object) -> None:
    (folder / "pipelines").mkdir(exist_ok=True)
    values = {"dataset": {"uri": f"{folder}/rows.jsonl"}, "registry": registry}
    (folder / "pipelines" / f"{pipeline}.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture
def registry(home) -> EmbeddedRegistry:
    """Three versions; 1.0.2 is the champion."""
    registry = EmbeddedRegistry(path=str(home / "home" / "registry.db"))
    for digest in ("a", "b", "c"):
        registry.register(
            Registration(model=MODEL, digest=digest, uri=f"s3://m/{digest}", author="run")
        )
    return registry


def ft(*arguments: str) -> Result:
    group = Commands("registry")
    for command in (cli.promote, cli.rollback, cli.history):
        group.add_command(command)
    return CliRunner().invoke(group, list(arguments))


def test_rollback_goes_to_the_champion_before_and_says_so(registry):
    done = ft("rollback", MODEL, *WHY, "--by", "ann")

    assert done.exit_code == 0, done.output
    assert done.stdout == f"{MODEL} 1.0.1 is the champion; 1.0.2 was.\n"
    assert registry.champion(MODEL).version == "1.0.1"
    last = registry.history(MODEL)[-1]
    assert (last.act, last.by, last.why) == ("rolled back", "ann", "it answers in rhymes")


def test_rollback_takes_a_version(registry):
    done = ft("rollback", MODEL, "1.0.0", *WHY, "--json")
    assert json.loads(done.stdout) == {
        "model": MODEL,
        "champion": "1.0.0",
        "champion_before": "1.0.2",
    }


def test_promote_puts_any_version_in_force(registry):
    assert ft("promote", MODEL, "1.0.0", *WHY).exit_code == 0
    assert registry.champion(MODEL).version == "1.0.0"
    again = ft("promote", MODEL, "1.0.0", *WHY)
    assert again.stdout == f"{MODEL} 1.0.0 was the champion already.\n"


def test_who_decides_is_the_user_of_the_session_unless_said_otherwise(registry, monkeypatch):
    monkeypatch.setenv("LOGNAME", "carol")
    ft("promote", MODEL, "1.0.0", *WHY)
    assert registry.history(MODEL)[-1].by == "carol"


def test_the_history_is_shown(registry):
    ft("rollback", MODEL, *WHY)
    shown = json.loads(ft("history", MODEL, "--json").stdout)
    assert shown["model"] == MODEL
    assert [(c["version"], c["act"]) for c in shown["history"]] == [
        ("1.0.0", "registered"),
        ("1.0.1", "registered"),
        ("1.0.2", "registered"),
        ("1.0.1", "rolled back"),
    ]
    assert "rolled back" in ft("history", MODEL).stdout


def test_dagster_knows_of_the_change_too(registry):
    ft("rollback", MODEL, *WHY, "--by", "ann")
    with open_instance() as instance:
        records = instance.fetch_observations(
            dg.AssetKey(["tiny", "registered_version"]), limit=1
        ).records
    (observation,) = [record.asset_observation for record in records]
    assert {name: value.value for name, value in observation.metadata.items()} == {
        "champion_before": "1.0.2",
        "champion_after": "1.0.1",
        "changed_by": "ann",
        "why": "it answers in rhymes",
    }


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("rollback", MODEL), 2, "Missing option '--why'"),
        (("promote", MODEL, "1.0.0"), 2, "Missing option '--why'"),
        (("rollback", MODEL, "--why", " "), 1, "--why is empty"),
        (("promote", MODEL, "9.9.9", *WHY), 1, "registered: 1.0.2, 1.0.1, 1.0.0"),
        (("rollback", MODEL, "1.0.2", *WHY), 1, "in force already"),
        (("history", "nobody"), 1, "registered: tiny-assistant"),
    ],
)
def test_what_cannot_be_done_is_one_message(registry, arguments, status, said):
    refused = ft(*arguments)
    assert refused.exit_code == status
    assert said in refused.stderr
    assert "Traceback" not in refused.output
    assert registry.champion(MODEL).version == "1.0.2"


# --- which registry is meant


def test_a_model_is_looked_for_in_the_registry_of_its_pipeline(home):
    write_pipeline(home, "served", name="served-model", address="https://registry.example.org")

    assert set(cli.registries()) == {
        "the embedded registry",
        "the model registry at https://registry.example.org:443",
    }
    assert cli.registry_of("served-model").address == "https://registry.example.org"
    assert isinstance(cli.registry_of(MODEL), EmbeddedRegistry)


def test_a_model_that_no_pipeline_names_is_looked_for_in_all_registries(home, monkeypatch):
    one, other = (EmbeddedRegistry(path=str(home / f"{name}.db")) for name in ("one", "other"))
    monkeypatch.setattr(cli, "registries", lambda: {"one": one, "other": other})
    for registry, model in ((one, "a"), (other, "b"), (one, "both"), (other, "both")):
        registry.register(Registration(model=model, digest="d", uri="s3://m/d", author="run"))

    assert (cli.registry_of("a").path, cli.registry_of("b").path) == (one.path, other.path)
    with pytest.raises(
        UserError, match=r"'both' is in several .* \(one, other\): set FT_PIPELINES"
    ):
        cli.registry_of("both")
    with pytest.raises(UserError, match=r"'c' is in none of the registries"):
        cli.registry_of("c")


def test_without_any_pipeline_it_is_the_embedded_registry(home):
    (home / "pipelines" / "tiny.yaml").unlink()
    assert list(cli.registries()) == ["the embedded registry"]
    assert isinstance(cli.registry_of("anything"), EmbeddedRegistry)
