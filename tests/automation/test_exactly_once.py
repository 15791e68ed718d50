"""Exactly once: whatever is repeated, reordered, raced or killed, each version is asked for once.

Thousands of sequences: ``python bench/exactly_once.py 5000``.
"""

from __future__ import annotations

import os

import dagster as dg
import pytest

from tests.support.new_data_accumulating import AccumulatingData
from tests.support.new_data_limited import LimitedAccumulatingData, LimitedData
from tests.support.new_data_machine import check_sequences
from tests.support.new_data_stores import FolderStore, S3Store
from tests.support.new_data_world import World
from tests.support.seaweedfs import seaweedfs


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_sequences_on_a_folder(instance, tmp_path):
    check_sequences(
        lambda config: World(FolderStore(tmp_path / "drops"), instance, config), number=200
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_sequences_of_data_that_accumulates(instance, tmp_path):
    check_sequences(
        lambda config: World(FolderStore(tmp_path / "drops"), instance, config),
        number=30,
        machine=AccumulatingData,
        steps=12,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_sequences_under_limits_and_with_base_models_that_move(instance, tmp_path):
    check_sequences(
        lambda config: World(FolderStore(tmp_path / "drops"), instance, config),
        number=50,
        machine=LimitedData,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_sequences_under_limits_of_data_that_accumulates(instance, tmp_path):
    check_sequences(
        lambda config: World(FolderStore(tmp_path / "drops"), instance, config),
        number=15,
        machine=LimitedAccumulatingData,
        steps=12,
    )


@pytest.fixture(scope="module")
def s3_store():
    import boto3

    with seaweedfs() as server, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        for name, value in server.environment.items():
            environment.setenv(name, value)
        client = boto3.session.Session().client("s3", endpoint_url=server.endpoint_url)
        client.create_bucket(Bucket="drops")
        yield S3Store(client, "drops", server.endpoint_url)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_sequences_on_s3(instance, s3_store):
    """There the same bytes put again are the same version."""
    check_sequences(lambda config: World(s3_store, instance, config), number=10, steps=12)
