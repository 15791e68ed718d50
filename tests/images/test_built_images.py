"""The images themselves, built on a Debian and run as a cluster runs them: as a user by number, on
a read-only root, without capabilities and without a network.

The CUDA trainer is not among them: its base is too large to be had here. Its Containerfile is the
same but for its base and its packages (test_containerfiles.py), and those resolve
(test_cuda_packages.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resources.home import CHECKOUT
from tests.images.image_workshop import IMAGES, LABELS, USER, Workshop
from tests.support.tiny_pipeline import NAME, TinyPipeline, make_tiny_pipeline

# The images are built when the first of these asks for them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SITE_PACKAGES = "opt/ft/lib/python3*/site-packages"
BUILD_TOOLS = ("ar", "as", "c++", "cc", "cmake", "g++", "gcc", "ld", "make", "pip", "pip3", "uv")
CACHES = (".cache", "root/.cache", "var/cache/uv", "source", "parts")


@pytest.mark.parametrize("image", IMAGES)
def test_no_tool_of_the_build_and_no_cache_is_left(workshop: Workshop, image: str) -> None:
    with workshop.mounted(image) as root:
        folders = [root / where for where in ("opt/ft/bin", "bin", "usr/bin", "usr/local/bin")]
        tools = [tool for tool in BUILD_TOOLS if any((f / tool).exists() for f in folders)]
        caches = [where for where in CACHES if _files(root / where)]

        assert (tools, caches, _files(root / "tmp")) == ([], [], [])


@pytest.mark.parametrize("image", IMAGES)
def test_where_packages_came_from_is_not_in_the_image(workshop: Workshop, image: str) -> None:
    """The configuration of uv may hold a password of a mirror: it is a secret of the build."""
    with workshop.mounted(image) as root:
        kept = root / "etc" / "uv" / "uv.toml"

        assert not kept.exists() or kept.read_bytes() == b""
    assert "uv.toml" not in json.dumps(workshop.inspect(image)["Config"])


@pytest.mark.parametrize("image", IMAGES)
def test_the_bill_of_materials_lists_what_pip_lists(workshop: Workshop, image: str) -> None:
    with workshop.mounted(image) as root:
        (folder,) = root.glob(SITE_PACKAGES)
        bill = json.loads((root / "opt" / "ft" / "sbom.cdx.json").read_text())
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "list", "--path", folder, "--format", "json"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    by_pip = {(_normal(one["name"]), one["version"]) for one in json.loads(listed)}
    in_bill = {
        (one["name"], one["version"])
        for one in bill["components"]
        if one["purl"].startswith("pkg:pypi/")
    }
    assert in_bill == by_pip
    assert ("ft-assets", "0.1.0") in in_bill


@pytest.mark.parametrize("image", IMAGES)
def test_every_version_is_the_constraints(workshop: Workshop, image: str) -> None:
    pins: dict[str, set[str]] = {}
    for line in (CHECKOUT / "constraints.txt").read_text().splitlines():
        if "==" in line:
            package, _, version = line.partition(";")[0].strip().partition("==")
            pins.setdefault(_normal(package), set()).add(version)
    with workshop.mounted(image) as root:
        bill = json.loads((root / "opt" / "ft" / "sbom.cdx.json").read_text())

    other = {
        one["purl"]
        for one in bill["components"]
        if one["purl"].startswith("pkg:pypi/")
        and one["name"] != "ft-assets"
        # A local part, as in 2.13.0+cpu, says how the version was built.
        and one["version"].partition("+")[0] not in pins.get(one["name"], set())
    }
    assert other == set()


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_says_what_it_is(workshop: Workshop, image: str) -> None:
    config = workshop.inspect(image)["Config"]
    prefix = "org.opencontainers.image."

    labels = {
        name.removeprefix(prefix): value
        for name, value in config["Labels"].items()
        if name.startswith(prefix)
    }

    assert config["User"] == f"{USER}:{USER}"
    assert not config.get("Entrypoint")
    assert labels.pop("description")
    assert labels == {
        "title": f"ft-assets-{image}",
        "licenses": "Apache-2.0",
        **{name.lower(): value for name, value in LABELS.items()},
    }


def test_the_images_share_their_layers(workshop: Workshop) -> None:
    def layers(image: str) -> list[str]:
        return workshop.inspect(image)["RootFS"]["Layers"]

    # The base, the recipe and the light layer; then that of the evaluation.
    assert layers("orchestrator")[:3] == layers("evaluator")[:3]
    assert layers("evaluator")[:4] == layers("trainer-cpu")[:4]


def test_the_orchestrator_has_no_torch(workshop: Workshop) -> None:
    with workshop.mounted("orchestrator") as root:
        (folder,) = root.glob(SITE_PACKAGES)
        heavy = ("torch", "transformers", "datasets", "lm_eval", "training_hub", "llvmlite")

        assert [name for name in heavy if (folder / name).exists()] == []


def test_the_whole_graph_runs_each_step_in_the_image_that_is_for_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    pipeline = make_tiny_pipeline(tmp_path / "tiny")
    home = pipeline.home / "dagster"
    home.mkdir(parents=True)
    shutil.copy(CHECKOUT / "dagster.yaml", home)
    with pipeline.instance() as instance:
        instance.add_dynamic_partitions(f"{NAME}_drops", ["drop-1"])
    _give(pipeline.root, USER)

    _make(workshop, "orchestrator", pipeline, "raw_dataset", "split_dataset")
    _make(workshop, "trainer-cpu", pipeline, "finetuned_model")
    _make(workshop, "evaluator", pipeline, "baseline_report", "eval_report")
    _make(workshop, "orchestrator", pipeline, "registered_version")

    assert {"finetuned_model", "eval_report", "registered_version"} <= set(pipeline.artifacts())


def _make(workshop: Workshop, image: str, pipeline: TinyPipeline, *assets: str) -> None:
    """Make assets in a container, through Dagster; the steps share a volume, as in a cluster."""
    workshop.run(
        image,
        *("dagster", "asset", "materialize", "--module-name", "ft_assets.definitions"),
        *("--select", ",".join(f"key:{NAME}/{asset}" for asset in assets)),
        *("--partition", "drop-1"),
        volumes=[f"{pipeline.root}:{pipeline.root}"],
        environment={
            **pipeline.dagster_environment,
            # These images are built without compiled code, which every process would make anew.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(pipeline.root / "compiled"),
        },
    )


def _give(folder: Path, user: int) -> None:
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user, user)


def _files(folder: Path) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file()] if folder.exists() else []


def _normal(package: str) -> str:
    return package.lower().replace("_", "-").replace(".", "-")
