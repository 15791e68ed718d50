"""The code that made something is named by its sources' digest and, in a checkout, the commit."""

from __future__ import annotations

import re
import subprocess

import pytest

from ft_assets.provenance.builder import this_builder
from ft_assets.provenance.code import _commit, this_code

COMMIT = "0123456789012345678901234567890123456789"


def test_the_digest_is_of_the_sources_and_the_same_each_time():
    assert re.fullmatch(r"[0-9a-f]{64}", this_code().digest)
    this_code.cache_clear()
    assert this_code() == this_code()


def test_the_commit_is_what_git_says(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@e.x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert _commit(tmp_path) == head.stdout.strip()
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    assert _commit(tmp_path) == head.stdout.strip()
    subprocess.run([*git, "checkout", "-q", "--detach"], check=True)
    assert _commit(tmp_path) == head.stdout.strip()
    subprocess.run([*git, "worktree", "add", "-q", "-b", "b", str(tmp_path / "w")], check=True)
    assert _commit(tmp_path / "w") == head.stdout.strip()


def test_outside_a_checkout_there_is_no_commit(tmp_path):
    assert _commit(tmp_path) is None


@pytest.mark.parametrize("name", ["FT_IMAGE", "DAGSTER_CURRENT_IMAGE"])
def test_the_builder_names_its_image(monkeypatch, name):
    monkeypatch.delenv("FT_IMAGE", raising=False)
    monkeypatch.delenv("DAGSTER_CURRENT_IMAGE", raising=False)
    assert this_builder().image is None
    monkeypatch.setenv(name, "registry.example.com/ft@sha256:0")
    assert this_builder().image == "registry.example.com/ft@sha256:0"


def test_a_pod_is_known_as_one_without_its_name(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    builder = this_builder()
    assert builder.host == "kubernetes"
    assert "10.0.0.1" not in builder.model_dump_json()
