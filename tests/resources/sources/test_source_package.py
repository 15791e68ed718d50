"""Data files that installed packages carry."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.sources import package
from resources.sources.files import Fetched, SizeLimit
from resources.sources.uri import PackageUri


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package that fails when it is imported."""
    folder = tmp_path / "site" / "ft_carrier"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "deep" / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "deep" / "rows.jsonl").write_text("{}\n")
    (folder.parent / "outside.jsonl").write_text("{}\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def read(name: str, file: str) -> Fetched:
    return package.fetch(PackageUri(name, file), f"package://{name}/{file}", SizeLimit(0))


@pytest.mark.parametrize(
    ("name", "file"), [("ft_carrier", "deep/rows.jsonl"), ("ft_carrier.deep", "rows.jsonl")]
)
def test_a_file_is_read_in_place_and_the_package_is_not_imported(
    carrier: Path, name: str, file: str
):
    (found,) = read(name, file).files
    assert found.path == carrier / "deep" / "rows.jsonl"
    assert "ft_carrier" not in sys.modules


def test_the_version_of_the_package_is_the_revision(carrier: Path):
    assert read("ft_carrier", "deep/rows.jsonl").revision is None  # nothing installed it
    info = carrier.parent / "ft_carrier_data-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ft-carrier-data\nVersion: 1.2\n")
    (info / "top_level.txt").write_text("ft_carrier\n")
    assert read("ft_carrier", "deep/rows.jsonl").revision == "ft-carrier-data 1.2"


def test_a_file_outside_the_package_is_refused(carrier: Path):
    with pytest.raises(UserError, match="outside the package"):
        read("ft_carrier", "../outside.jsonl")


def test_a_missing_file_names_the_folder(carrier: Path):
    with pytest.raises(UserError, match=f"no such file in {carrier}"):
        read("ft_carrier", "rows.jsonl")


@pytest.mark.parametrize("name", ["ft_no_such_package", "json_does_not_exist.x", "__main__"])
def test_a_missing_package_says_so(name: str):
    with pytest.raises(UserError, match="there is no installed package"):
        read(name, "rows.jsonl")
