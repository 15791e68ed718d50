"""Sizes of the images and what they are made of; prints one JSON object.

Builds orchestrator, evaluator and trainer-cpu on a Debian base (root, buildah, podman, runc and
mmdebstrap are needed) in a folder of its own, which is removed at the end. Sizes are megabytes of
files, uncompressed; seconds are of each build on top of the one before.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.images.image_workshop import BASE, IMAGES, Workshop, missing

MEGABYTE = 1_000_000
LARGEST = 8


def measured(workshop: Workshop, image: str) -> dict[str, Any]:
    """Build one image; its size, its largest packages and how many there are."""
    began = time.monotonic()
    workshop.build(image)
    seconds = time.monotonic() - began
    with workshop.mounted(image) as root:
        bill = json.loads((root / "opt" / "ft" / "sbom.cdx.json").read_text())
        (packages,) = (root / "opt" / "ft" / "lib").glob("python3*/site-packages")
        sizes = {folder.name: size(folder) for folder in packages.iterdir() if folder.is_dir()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]
    return {
        "megabytes": round(int(workshop.inspect(image)["Size"]) / MEGABYTE),
        "components": len(bill["components"]),
        "largest_megabytes": {name: round(sizes[name] / MEGABYTE) for name in largest},
        "build_seconds": round(seconds, 1),
    }


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    if why := missing():
        sys.exit(f"no container images: {why}")
    workshop = Workshop(Path(tempfile.mkdtemp(prefix="ft-images-")))
    try:
        began = time.monotonic()
        workshop.prepare()
        base_seconds = time.monotonic() - began
        images = {image: measured(workshop, image) for image in IMAGES}
        told = workshop.call("podman", "image", "inspect", "--format", "{{.Size}}", BASE)
        base = round(int(told.stdout) / MEGABYTE)
    finally:
        workshop.clear()
    print(json.dumps({"base_megabytes": base, "base_seconds": round(base_seconds, 1), **images}))


if __name__ == "__main__":
    main()
