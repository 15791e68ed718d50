"""Servers that the source tests read from."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.support.loopback_hub import LoopbackHub, loopback_hub
from tests.support.seaweedfs import SeaweedFS, seaweedfs


@pytest.fixture(scope="session")
def s3_server() -> Generator[SeaweedFS]:
    with seaweedfs() as server:
        yield server


@pytest.fixture
def s3_env(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> SeaweedFS:
    """The server's credentials in the environment, and nothing else that boto3 would find."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def s3_client(s3_env: SeaweedFS) -> Any:
    from resources.sources import s3

    return s3.connect(s3_env.endpoint_url)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Generator[LoopbackHub]:
    with loopback_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
