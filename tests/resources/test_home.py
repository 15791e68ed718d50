"""Where state lies, from the environment or from where the code lies."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from resources import home
from resources.errors import UserError
from resources.home import CHECKOUT, Home, dagster_home, ft_home


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.delenv("FT_HOME", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def test_ft_home_wins_and_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FT_HOME", "state")
    assert ft_home() == tmp_path / "state"


def test_a_tilde_is_the_persons_own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FT_HOME", "~/state")
    assert ft_home() == tmp_path / "state"


def test_in_a_checkout_state_lies_in_it():
    assert ft_home() == CHECKOUT / ".ft"


def test_an_installed_package_keeps_state_in_the_persons_data_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(home, "CHECKOUT", tmp_path)
    assert ft_home() == Path.home() / ".local" / "share" / "ft-assets"


def test_dagsters_home_lies_below_with_the_repositorys_own_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("FT_HOME", str(tmp_path / "state"))
    folder = dagster_home()
    assert folder == tmp_path / "state" / "dagster"
    settings = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert settings == yaml.safe_load((CHECKOUT / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}


def test_changed_settings_reach_a_home_that_is_there(monkeypatch, tmp_path):
    monkeypatch.setenv("FT_HOME", str(tmp_path))
    (dagster_home() / "dagster.yaml").write_text("old: true")
    assert (dagster_home() / "dagster.yaml").read_text() == (CHECKOUT / "dagster.yaml").read_text()
    assert [file.name for file in (tmp_path / "dagster").iterdir()] == ["dagster.yaml"]


def test_dagster_home_wins_and_is_left_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert dagster_home() == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_dagster_home_that_is_no_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "missing"))
    with pytest.raises(UserError, match=r"DAGSTER_HOME names '.*/missing', which is not a folder"):
        dagster_home()


def test_a_home_that_cannot_be_made_is_refused_with_the_remedy(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FT_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"Not a directory.*set FT_HOME"):
        dagster_home()


def test_every_kind_of_state_has_a_folder_of_its_own(tmp_path):
    folders = Home(path=str(tmp_path))
    assert {folders.runs, folders.models, folders.scratch} == {
        tmp_path / "runs",
        tmp_path / "models",
        tmp_path / "scratch",
    }


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml"])
def test_a_file_of_the_top_folder_is_found_in_the_checkout_and_in_a_wheel(
    name, tmp_path, monkeypatch
):
    assert home.shipped(name) == home.CHECKOUT / name
    project = tomllib.loads((home.CHECKOUT / "pyproject.toml").read_text())
    inside = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"][name]

    (tmp_path / inside).parent.mkdir()
    (tmp_path / inside).touch()
    monkeypatch.setattr(home, "CHECKOUT", tmp_path)
    assert home.shipped(name) == tmp_path / inside
