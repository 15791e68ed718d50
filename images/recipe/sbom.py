"""The image's bill of materials, as CycloneDX JSON: ``python sbom.py FILE``.

Runs in the image, in its own environment, and lists what is installed there: every Python package
and, where the base has dpkg, every Debian package. Standard library only.
"""

import json
import re
import sys
import uuid
from email.parser import Parser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")
OURS = "ft-assets"
LONGEST_LICENSE_NAME = 60


def bill(found: list[Distribution], debian: list[dict[str, Any]]) -> dict[str, Any]:
    """The document; the same packages give the same document, serial number and all."""
    # By reference: a folder that is on the path twice shows a package twice.
    parts = {part["bom-ref"]: part for part in [*map(python_component, found), *debian]}
    components = [parts[reference] for reference in sorted(parts)]
    ours = next((part for part in components if part["name"] == OURS), None)
    names = "\n".join(sorted(parts))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, names)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": OURS,
                "version": ours["version"] if ours else "unknown",
            }
        },
        "components": components,
    }


def python_component(distribution: Distribution) -> dict[str, Any]:
    """One installed Python package."""
    name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
    purl = f"pkg:pypi/{name}@{quote(distribution.version, safe='')}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": distribution.version,
        "purl": purl,
    }
    if summary := distribution.metadata["Summary"]:
        component["description"] = summary
    if licenses := _licenses(distribution):
        component["licenses"] = licenses
    return component


def _licenses(distribution: Distribution) -> list[dict[str, Any]]:
    """As the package states it: an SPDX expression, else its classifiers, else nothing.

    The free text of the old field ``License`` is often the whole text: only a short one counts.
    """
    metadata = distribution.metadata
    if expression := metadata["License-Expression"]:
        return [{"expression": expression}]
    classifiers = [
        line.rsplit(" :: ", 1)[-1]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    names = [name for name in classifiers if name != "OSI Approved"]
    stated = metadata["License"] or ""
    if not names and stated and "\n" not in stated and len(stated) <= LONGEST_LICENSE_NAME:
        names = [stated]
    return [{"license": {"name": name}} for name in names]


def debian_components(status: str) -> list[dict[str, Any]]:
    """The packages of a dpkg status file that are installed."""
    entries = [Parser().parsestr(entry) for entry in status.split("\n\n") if entry.strip()]
    return [
        {
            "type": "library",
            "bom-ref": purl,
            "name": entry["Package"],
            "version": entry["Version"],
            "purl": purl,
        }
        for entry in entries
        if entry["Status"] == "install ok installed"
        for purl in [
            f"pkg:deb/{quote(entry['Package'], safe='')}@{quote(entry['Version'], safe='')}"
            f"?arch={entry['Architecture']}"
        ]
    ]


def main(target: Path) -> None:
    """Write the bill of the environment that this runs in."""
    status = DPKG.read_text() if DPKG.exists() else ""
    document = bill(list(distributions()), debian_components(status))
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"{target}: {len(document['components'])} components")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
