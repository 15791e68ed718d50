"""A lease of a store, held by real processes, on a folder and in a bucket of a real S3 server.

Waiting is for what a process prints, never for a time: a slow machine makes these tests slow and
not red.
"""

from __future__ import annotations

import json
import signal
import threading
import uuid
from contextlib import contextmanager

import psutil
import pytest

from resources.store import ArtifactStore, LeaseLostError, this_holder
from resources.store.s3_lease import clock
from tests.resources.store.lease_worker import KEY, NAME, Worker
from tests.support.seaweedfs import seaweedfs

ME = this_holder("run-of-the-test", "demo__model")
RACERS = 8
TTL = 3
RECORD = "team/artifacts/.leases/demo-model-all.json"

pytestmark = pytest.mark.slow


@pytest.fixture
def worker(store_with_lease, tmp_path):
    """Start workers on the store; those that are left at the end are killed."""
    workers = []

    def start(how="until told", store=None) -> Worker:
        workers.append(Worker(store or store_with_lease, tmp_path / "witness", how))
        return workers[-1]

    yield start
    for left in workers:
        left.kill()


@pytest.fixture
def store_with_lease(request, tmp_path) -> ArtifactStore:
    """In a bucket, with leases that soon end."""
    store = request.getfixturevalue("s3_store")
    return ArtifactStore(**(store.model_dump() | {"lease_seconds": TTL}))


@pytest.mark.parametrize("place", ["local", "s3"])
def test_of_eight_that_race_one_holds_at_a_time_and_every_one_in_its_turn(
    request, place, worker, tmp_path
):
    store = request.getfixturevalue(f"{place}_store")
    store = ArtifactStore(**(store.model_dump() | {"lease_seconds": 10}))  # nobody is that slow
    racers = [worker("in turn", store) for _ in range(RACERS)]
    ends = []
    for racer in racers:
        words = racer.hears_all()
        racer.process.join()
        ends.append((words[-1:], racer.process.exitcode))
    # One that found the witness of another would have ended with FileExistsError.
    assert ends == [(["done"], 0)] * RACERS


def test_who_waits_says_for_whom_and_once(worker, tmp_path):
    first = worker()
    assert first.hears()[0] == "holds"
    second = worker()
    word, whom = second.hears()
    assert word == "waits"
    assert f"run run-{first.pid}, step demo__model, on " in whom
    first.go_on()
    assert first.hears()[0] == "done"
    assert second.hears()[0] == "holds"


@pytest.mark.parametrize("place", ["local", "s3"])
def test_what_a_killed_process_held_is_free_when_its_time_is_over(request, place, worker, tmp_path):
    store = request.getfixturevalue("store_with_lease" if place == "s3" else "local_store")
    first = worker(store=store)
    assert first.hears()[0] == "holds"
    first.kill()
    (tmp_path / "witness").unlink()
    with store.lease(NAME, ME) as lease:
        lease.confirm()


def test_a_holder_that_works_longer_than_its_time_keeps_the_lease(store_with_lease, worker):
    first = worker()
    assert first.hears()[0] == "holds"
    second = worker()
    assert second.hears()[0] == "waits"
    assert not second.pipe.poll(2 * TTL), "it still waits"
    first.go_on()
    assert second.hears()[0] == "holds"


def test_a_holder_that_was_paused_too_long_cannot_publish(store_with_lease, worker):
    paused = worker("publish")
    assert paused.hears()[0] == "holds"
    paused.signal(signal.SIGSTOP)
    with (
        store_with_lease.lease(NAME, ME) as lease,
        store_with_lease.publish(KEY, None) as draft,
    ):
        draft.guard = lease.confirm
        (draft.path / "model.bin").write_text("weights of the test")
    paused.signal(signal.SIGCONT)
    paused.go_on()
    word, why = paused.hears()
    assert word == "lost"
    assert "was then held by run run-of-the-test" in why
    assert "publishes nothing" in why
    published = store_with_lease.open(KEY, None)
    assert published.file("model.bin").read_text() == "weights of the test"
    whole = [
        digest
        for digest in store_with_lease.backend.versions(KEY, None)
        if store_with_lease.backend.find_version(KEY, None, digest) is not None
    ]
    assert whole == [published.digest]


def test_a_paused_holder_keeps_its_lease_when_nobody_wanted_it(store_with_lease, worker):
    paused = worker("publish")
    assert paused.hears()[0] == "holds"
    paused.signal(signal.SIGSTOP)
    assert not paused.pipe.poll(2 * TTL)
    paused.signal(signal.SIGCONT)
    paused.go_on()
    assert paused.hears()[0] == "done"
    assert store_with_lease.find(KEY, None) is not None


def test_a_run_that_is_cancelled_while_it_waits_ends_at_once(store_with_lease, worker):
    first = worker()
    assert first.hears()[0] == "holds"
    second = worker()
    assert second.hears()[0] == "waits"
    second.signal(signal.SIGINT)
    second.process.join()
    assert second.process.exitcode == 1
    first.go_on()
    assert first.hears()[0] == "done", "the one that waited has disturbed nobody"


def test_a_lease_given_back_is_free_at_once_and_says_so(store_with_lease, s3_client, bucket):
    with store_with_lease.lease(NAME, ME):
        pass
    waited = []
    with store_with_lease.lease(NAME, ME, on_wait=waited.append):
        record = s3_client.get_object(Bucket=bucket, Key=RECORD)["Body"].read()
    assert waited == []
    assert json.loads(record)["term"] == 2
    assert json.loads(record)["holder"]["run_id"] == "run-of-the-test"


def test_a_lease_whose_object_is_removed_is_lost(store_with_lease, s3_client, bucket):
    lost = []
    with store_with_lease.lease(NAME, ME, on_lost=lost.append) as lease:
        s3_client.delete_object(Bucket=bucket, Key=RECORD)
        with pytest.raises(LeaseLostError, match="its record was removed"):
            lease.confirm()
        with pytest.raises(LeaseLostError):
            lease.check()


@contextmanager
def cut_off(server):
    """The server does not answer inside the block; it is stopped, not killed: its data stay."""
    port = server.endpoint_url.rpartition(":")[2]
    (process,) = [
        child for child in psutil.Process().children() if f"-s3.port={port}" in child.cmdline()
    ]
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_a_holder_that_is_cut_off_learns_it_when_its_time_is_over(tmp_path, monkeypatch):
    import boto3

    with seaweedfs() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        bucket = f"cut-{uuid.uuid4().hex}"
        boto3.Session().client("s3", endpoint_url=server.endpoint_url).create_bucket(Bucket=bucket)
        store = ArtifactStore(
            root=f"s3://{bucket}/x",
            cache_dir=str(tmp_path / "cache"),
            s3_endpoint_url=server.endpoint_url,
            lease_seconds=2,
        )
        told = threading.Event()
        why = []

        def on_lost(error):
            why.append(error)
            told.set()

        with store.lease(NAME, ME, on_lost=on_lost) as lease:
            with cut_off(server):
                began = clock()
                assert told.wait(120)
                assert clock() - began >= 1, "it was valid for a while"
                with pytest.raises(LeaseLostError, match="does not answer"):
                    lease.check()
            # Nobody has taken it meanwhile, so that the server still knows it as ours.
            lease.confirm()
        assert "another run may be at this work by now" in str(why[0])
