"""Stores to test against: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count

import pytest

from resources.store import ArtifactStore
from tests.support.seaweedfs import seaweedfs
from tests.support.small_disk import small_disk as mount_disk


@pytest.fixture(scope="session")
def s3_server():
    with seaweedfs() as server:
        yield server


@pytest.fixture
def s3_environment(s3_server, monkeypatch):
    """The server's credentials, where boto3 looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return s3_server


@pytest.fixture
def s3_client(s3_environment):
    import boto3

    # Not boto3.client: its session keeps the credentials of whatever server was asked first.
    return boto3.session.Session().client("s3", endpoint_url=s3_environment.endpoint_url)


@pytest.fixture
def bucket(s3_client) -> str:
    name = f"artifacts-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def local_store(tmp_path) -> ArtifactStore:
    return ArtifactStore(root=str(tmp_path / "store"))


@pytest.fixture
def s3_store(bucket, s3_environment, tmp_path) -> ArtifactStore:
    return ArtifactStore(
        root=f"s3://{bucket}/team/artifacts",
        cache_dir=str(tmp_path / "cache"),
        s3_endpoint_url=s3_environment.endpoint_url,
    )


@pytest.fixture(params=["local", "s3"])
def store(request) -> ArtifactStore:
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def in_child():
    """Run a function in a process of its own; its exit code, negative for a signal."""

    def run(function: Callable[[], None]) -> int | None:
        process = multiprocessing.get_context("fork").Process(target=function)
        process.start()
        process.join()
        return process.exitcode

    return run


@pytest.fixture
def kill_before():
    """In a child process: SIGKILL before the n-th time that an audited event happens."""

    def arm(event: str, number: int) -> None:
        seen = 0

        def hook(name: str, _: tuple[object, ...]) -> None:
            nonlocal seen
            if name == event:
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return arm


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of its own: ``small_disk("size=4m")``."""
    with ExitStack() as mounted:
        names = (f"disk-{number}" for number in count())
        yield lambda options: mounted.enter_context(mount_disk(tmp_path / next(names), options))
