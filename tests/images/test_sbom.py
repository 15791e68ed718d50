"""The bill of materials: what it says of a package, and that it is CycloneDX."""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import distribution, distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from resources.home import CHECKOUT

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library
 of many lines

Package: vim
Status: deinstall ok config-files
Architecture: amd64
Version: 2:9.0
"""


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    file = CHECKOUT / "images" / "recipe" / "sbom.py"
    spec = importlib.util.spec_from_file_location("image_sbom", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_package_has_name_version_purl_and_licence(sbom: ModuleType) -> None:
    component = sbom.python_component(distribution("PyYAML"))

    version = distribution("PyYAML").version
    assert component["name"] == "pyyaml"
    assert component["version"] == version
    assert component["purl"] == f"pkg:pypi/pyyaml@{version}"
    assert "MIT" in json.dumps(component["licenses"])


def test_debian_packages_are_those_that_are_installed(sbom: ModuleType) -> None:
    (component,) = sbom.debian_components(STATUS)

    assert component["purl"] == "pkg:deb/libc6@2.36-9%2Bdeb12u10?arch=amd64"


def test_the_same_packages_give_the_same_bill(sbom: ModuleType) -> None:
    found = list(distributions())

    assert sbom.bill(found, []) == sbom.bill(found[::-1], [])


def test_a_package_that_is_found_twice_is_listed_once(sbom: ModuleType) -> None:
    found = list(distributions())

    assert sbom.bill(found * 2, []) == sbom.bill(found, [])


def test_it_is_valid_by_cyclonedx_own_schema(sbom: ModuleType) -> None:
    document = sbom.bill(list(distributions()), sbom.debian_components(STATUS))

    assert cyclonedx_errors(document) == []


def test_the_schema_refuses_what_is_not_cyclonedx(sbom: ModuleType) -> None:
    document = sbom.bill([distribution("pyyaml")], [])
    del document["components"][0]["name"]

    assert len(cyclonedx_errors(document)) == 1


def cyclonedx_errors(document: dict[str, Any]) -> list[str]:
    """What the specification's own schema says, from the package cyclonedx-python-lib."""
    package = pytest.importorskip("cyclonedx.schema", reason="not installed: cyclonedx-python-lib")
    folder = Path(package.__file__).parent / "_res"
    registry = Registry().with_resources(
        (f"http://cyclonedx.org/schema/{file.name}", Resource.from_contents(_json(file)))
        for file in folder.glob("*.schema.json")
    )
    schema = _json(folder / "bom-1.6.SNAPSHOT.schema.json")
    return [
        error.message for error in Draft7Validator(schema, registry=registry).iter_errors(document)
    ]


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())
