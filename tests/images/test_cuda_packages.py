"""What the CUDA trainer would install, resolved from the packages' metadata alone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resources.home import CHECKOUT

# Python of the Ubuntu that the default base is made from.
PYTHON = "3.12"
PLATFORM = "x86_64-manylinux_2_34"


@pytest.mark.slow
def test_the_trainers_packages_resolve_against_the_constraints(tmp_path: Path) -> None:
    file = CHECKOUT / "images" / "recipe" / "parts.py"
    spec = importlib.util.spec_from_file_location("image_parts_cuda", file)
    assert spec is not None
    assert spec.loader is not None
    parts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parts)
    lists = parts.lists()
    wanted = tmp_path / "trainer.in"
    wanted.write_text("\n".join(one for group in parts.GROUPS for one in lists[group]))
    never = tmp_path / "never.txt"
    never.write_text("\n".join(lists["never"]))

    resolved = subprocess.run(
        [
            Path(sys.executable).with_name("uv"),
            *("pip", "compile", "--quiet", "--no-annotate", "--no-header"),
            *("--python-version", PYTHON, "--python-platform", PLATFORM),
            *("--constraints", CHECKOUT / "constraints.txt", "--excludes", never, wanted),
        ],
        env={**os.environ, "UV_SYSTEM_CERTS": "true"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert resolved.returncode == 0, resolved.stderr
    packages = set(resolved.stdout.split())
    pinned = {
        line.partition(";")[0].strip()
        for line in (CHECKOUT / "constraints.txt").read_text().splitlines()
    }
    assert {parts.name(one) for one in packages} >= {"torch", "triton", "nvidia-nccl-cu13"}
    assert packages - pinned == set(lists["cuda"]), "everything else is in the constraints"
