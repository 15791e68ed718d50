"""Which packages go into which image, from pyproject.toml and images/packages.toml."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from resources.home import CHECKOUT
from tests.support.tiny_pipeline import clean_environment

HEAVY = {
    *("accelerate", "datasets", "instructlab-training", "lm-eval", "peft", "torch", "torchvision"),
    *("rhai-innovation-mini-trainer", "training-hub", "transformers", "trl"),
}
LAYERS = ("light", "evaluation", "training")

# Every module that is none of the light layer's raises as it would in the image.
_WITHOUT = """
import sys
ABSENT = set({absent!r})

class NotInTheImage:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInTheImage())
"""


@pytest.fixture(scope="module")
def parts() -> ModuleType:
    file = CHECKOUT / "images" / "recipe" / "parts.py"
    spec = importlib.util.spec_from_file_location("image_parts", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def light(parts: ModuleType) -> set[str]:
    """The light layer with all that it asks for, as it is installed here."""
    return closure(parts.lists()["light"], parts)


def closure(requirements: list[str], parts: ModuleType) -> set[str]:
    found: set[str] = set()
    asked: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        key = parts.name(requirement.name), frozenset(requirement.extras)
        if key in asked:
            continue
        asked.add(key)
        try:
            needs = distribution(requirement.name).requires or []
        except PackageNotFoundError:
            continue  # for another platform
        found.add(key[0])
        for text in needs:
            needed = Requirement(text)
            extras = ["", *requirement.extras]
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(needed)
    return found


def test_every_dependency_of_the_project_is_in_one_layer(parts: ModuleType) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    lists = parts.lists()
    layered = [parts.name(package) for layer in LAYERS for package in lists[layer]]

    extras = project["optional-dependencies"]["cluster"]
    assert sorted(layered) == sorted(parts.name(one) for one in [*project["dependencies"], *extras])


def test_every_package_has_its_version_from_the_constraints_or_names_it(parts: ModuleType) -> None:
    pinned = {
        parts.name(line) for line in (CHECKOUT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }  # fmt: skip
    lists = parts.lists()

    for layer in (*LAYERS, "cuda"):
        for package in lists[layer]:
            assert "==" in package or parts.name(package) in pinned, package


def test_nothing_heavy_is_in_the_light_layer(light: set[str]) -> None:
    assert not light & HEAVY


@pytest.mark.slow
def test_the_definitions_load_with_the_light_layer_alone(
    light: set[str], parts: ModuleType
) -> None:
    ours = {"ft_assets", "resources"}
    absent = sorted(
        module
        for module, owners in packages_distributions().items()
        if module not in ours and not {parts.name(owner) for owner in owners} & light
    )
    assert {"torch", "transformers", "lm_eval", "training_hub"} <= set(absent)
    program = (
        _WITHOUT.format(absent=absent)
        + "import json\nfrom ft_assets.definitions import defs\n"
        + "names = [str(job.name) for job in defs.get_repository_def().get_all_jobs()]\n"
        + "print(json.dumps(names))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])
