"""Registering on a Model Registry server: many at once, broken off anywhere, answers lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from itertools import count

import pytest

from resources.errors import UserError
from resources.registry.kubeflow import KubeflowRegistry
from resources.registry.kubeflow.properties import encode
from resources.registry.kubeflow.registering import claim_of
from resources.registry.port import RegisteredVersion, Registration
from tests.support.model_registry_server import Fault, ModelRegistryServer, model_registry_server
from tests.support.model_registry_store import VERSION

PROCESSES = 8
FORK = multiprocessing.get_context("fork")
PROPERTIES = {"accuracy": 0.5, "rows": 3, "tokens": 12_345_678_901, "passed": True}
NUMBERS = count()


@pytest.fixture(scope="module")
def running() -> Generator[ModelRegistryServer]:
    with model_registry_server("v1") as server:
        yield server


@pytest.fixture
def server(running) -> ModelRegistryServer:
    running.forget()
    return running


@pytest.fixture
def name() -> str:
    return f"model-{next(NUMBERS)}"


def registry(server: ModelRegistryServer, retries: int = 0) -> KubeflowRegistry:
    return KubeflowRegistry(address=server.url, retries=retries, first_pause_seconds=0.001)


def model(name: str, digest: str, version: str = "auto") -> Registration:
    return Registration(
        model=name,
        digest=digest,
        uri=f"s3://m/{digest}",
        author="run",
        version=version,
        properties=PROPERTIES,
    )


def before(server: ModelRegistryServer, name: str, scenario: str) -> None:
    """What is there before the registration: nothing, or a champion."""
    if scenario == "next":
        registry(server).register(model(name, "d0"))
    server.forget()


def assert_whole(server: ModelRegistryServer, name: str, scenario: str) -> None:
    """Exactly one version of ``d1``, whole and in force, in the answers and in the store."""
    server.forget()
    versions = {v.artifact.digest: v for v in registry(server).list_versions(name)}
    expected = {"first": {"d1": "1.0.0"}, "next": {"d0": "1.0.0", "d1": "1.0.1"}}[scenario]
    assert {digest: v.version for digest, v in versions.items()} == expected
    assert versions["d1"].stage == "champion"
    assert versions["d1"].artifact.uri == "s3://m/d1"
    assert versions["d1"].properties == PROPERTIES
    ids = {
        int(number): version
        for number, version in server.store.versions.items()
        if version["registeredModelId"] == model_id(server, name)
    }
    assert len(ids) == len(expected)
    assert [v["name"] for v in ids.values() if v["state"] == "LIVE"] == [expected["d1"]]
    for number in ids:
        artifacts = [a for a in server.store.artifacts.values() if a["_version"] == str(number)]
        assert len(artifacts) == 1


def model_id(server: ModelRegistryServer, name: str) -> str:
    return next(m["id"] for m in server.store.models.values() if m["name"] == name)


# --- each request fails in turn

REQUESTS = {"first": 21, "next": 22}
EACH_REQUEST = [(scenario, n) for scenario, last in REQUESTS.items() for n in range(last)]
WRITES = {"first": 5, "next": 5}
EACH_WRITE = [(scenario, n) for scenario, last in WRITES.items() for n in range(last)]


@pytest.mark.parametrize("scenario", REQUESTS)
def test_the_tests_below_fail_every_request_of_a_registration(server, name, scenario):
    before(server, name, scenario)
    registry(server).register(model(name, "d1"))
    assert len(server.requests) == REQUESTS[scenario]
    assert len(server.writes()) == WRITES[scenario]


@pytest.mark.parametrize("fault", [Fault("before", "500"), Fault("after", "drop")], ids=str)
@pytest.mark.parametrize(("scenario", "number"), EACH_REQUEST)
def test_a_registration_that_was_broken_off_is_completed(server, name, scenario, number, fault):
    before(server, name, scenario)
    server.faults[number] = fault
    with suppress(UserError):  # a POST is looked after, so that some failures are made up for
        registry(server).register(model(name, "d1"))
    server.forget()

    registry(server).register(model(name, "d1"))
    assert_whole(server, name, scenario)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [Fault(when, how) for when in ("before", "after") for how in ("500", "429", "drop")],
    ids=str,
)
@pytest.mark.parametrize(("scenario", "number"), EACH_REQUEST)
def test_a_request_that_fails_once_does_not_stop_a_registration(
    server, name, scenario, number, fault
):
    before(server, name, scenario)
    server.faults[number] = fault
    assert registry(server, retries=2).register(model(name, "d1")).created
    assert_whole(server, name, scenario)


@pytest.mark.parametrize("fault", [Fault("before", "429"), Fault("after", "500")], ids=str)
def test_a_server_that_fails_every_third_request_does_not_stop_a_registration(server, name, fault):
    before(server, name, "first")
    server.faults = dict.fromkeys(range(0, 60, 3), fault)
    assert registry(server, retries=4).register(model(name, "d1")).created
    assert_whole(server, name, "first")


def test_a_version_whose_answer_was_lost_is_known_as_ones_own(server, name):
    before(server, name, "first")
    post = 5
    server.faults[post] = Fault("after", "drop")
    registered = registry(server, retries=1).register(model(name, "d1"))
    assert server.requests[post].endswith("/model_versions")
    assert server.requests.count(server.requests[post]) == 1
    assert registered.created


def test_the_same_content_under_another_number_at_the_same_moment_is_one_version(server, name):
    """Its number is free, but the content was registered after the list was read."""
    registry(server).register(model(name, "d0"))
    server.forget()

    def be_faster(number: int, when: str) -> None:
        if when == "before" and server.requests[number].endswith("/model_versions") and number == 5:
            body = {
                "name": "2.0.0",
                "externalId": claim_of(name, "d1"),
                "customProperties": encode({"ft_digest": "d1"}),
            }
            server.store.create(VERSION, body, int(model_id(server, name)))

    server.on_request = be_faster
    registered = registry(server).register(model(name, "d1"))
    assert (registered.version, registered.created) == ("2.0.0", False)
    assert {v.version for v in registry(server).list_versions(name)} == {"1.0.0", "2.0.0"}


# --- killed


def kill_at_write(server: ModelRegistryServer, number: int, when: str, work: Callable[[], object]):
    """Run work in a child that is killed when the server gets, or has done, its nth write."""
    child = FORK.Process(target=work)

    def kill(request: int, moment: str) -> None:
        writes = server.writes()
        latest = not server.requests[request].startswith("GET ")
        if latest and len(writes) == number + 1 and moment == when:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)

    server.on_request = kill
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("scenario", "number"), EACH_WRITE)
def test_a_registration_that_was_killed_is_completed(server, name, scenario, number, when):
    before(server, name, scenario)
    work = partial(registry(server).register, model(name, "d1"))
    assert kill_at_write(server, number, when, work) == -signal.SIGKILL
    server.forget()

    champion = registry(server).champion(name)
    assert champion is None or champion.artifact.state == "LIVE"
    registry(server).register(model(name, "d1"))
    assert_whole(server, name, scenario)


# --- half-written, or edited by hand


def test_a_missing_artifact_is_shown_as_pending_and_repaired(server, name):
    whole = registry(server).register(model(name, "d1"))
    server.store.artifacts.clear()
    assert registry(server).get(name, whole.version).artifact.state == "PENDING"

    repaired = registry(server).register(model(name, "d1"))
    assert not repaired.created
    assert repaired.artifact == whole.artifact


def test_missing_properties_are_repaired_and_those_there_stay(server, name):
    registry(server).register(model(name, "d1"))
    version = list(server.store.versions.values())[-1]
    for lost in ("rows", "tokens", "ft_digest"):
        del version["customProperties"][lost]
    version["customProperties"]["accuracy"]["double_value"] = 0.25

    repaired = registry(server).register(model(name, "d1"))
    assert repaired.properties == {**PROPERTIES, "accuracy": 0.25}
    assert repaired.artifact.digest == "d1"


def test_a_version_without_its_external_id_is_known_by_its_digest(server, name):
    registry(server).register(model(name, "d1"))
    del list(server.store.versions.values())[-1]["externalId"]
    assert not registry(server).register(model(name, "d1")).created


def test_states_that_someone_changed_follow_the_champion_again(server, name):
    registry(server).register(model(name, "d0"))
    registry(server).register(model(name, "d1"))
    old, new = list(server.store.versions.values())[-2:]
    old["state"], new["state"] = "LIVE", "ARCHIVED"
    stages = {v.version: (v.stage, v.state) for v in registry(server).list_versions(name)}
    assert stages == {"1.0.1": ("champion", "LIVE"), "1.0.0": ("archived", "ARCHIVED")}

    registry(server).register(model(name, "d1"))
    assert (old["state"], new["state"]) == ("ARCHIVED", "LIVE")


def test_what_other_tools_wrote_stays(server, name):
    registry(server).register(model(name, "d0"))
    record = next(m for m in server.store.models.values() if m["name"] == name)
    struct = {"metadataType": "MetadataStructValue", "struct_value": "e30="}
    record["customProperties"]["theirs"] = struct
    theirs = server.store.create(VERSION, {"name": "v7", "state": "LIVE"}, int(record["id"]))
    ten_digits = {"metadataType": "MetadataIntValue", "int_value": "2000000000"}
    theirs["customProperties"] = {"big": ten_digits}

    assert registry(server).register(model(name, "d1")).version == "1.0.1"
    assert record["customProperties"]["theirs"] == struct
    read = registry(server).get(name, "v7")
    assert (read.stage, read.properties) == ("archived", {"big": 2_000_000_000})
    assert theirs["state"] == "LIVE"


def test_a_rollback_is_not_undone_by_a_registration_that_was_broken_off(server, name):
    registry(server).register(model(name, "d0"))
    server.forget()
    work = partial(registry(server).register, model(name, "d1"))
    kill_at_write(server, 1, "after", work)  # version and artifact are there
    server.forget()

    assert registry(server).set_champion(name, "1.0.0").stage == "champion"
    assert registry(server).register(model(name, "d1")).stage == "archived"
    assert registry(server).champion(name).version == "1.0.0"


def test_a_version_without_files_is_not_put_in_force(server, name):
    registry(server).register(model(name, "d0"))
    registry(server).register(model(name, "d1"))
    server.store.artifacts.clear()
    with pytest.raises(UserError, match=r"version 1\.0\.0 .*has no artifact.*register it again"):
        registry(server).set_champion(name, "1.0.0")


def test_property_names_that_the_adapter_needs_are_refused(server, name):
    taken = Registration(
        model=name, digest="d", uri="s3://m", author="a", properties={"ft_digest": "x"}
    )
    with pytest.raises(UserError, match="'ft_digest' has a name that the registry adapter keeps"):
        registry(server).register(taken)


# --- many at once


def at_once(works: list[Callable[[], object]]) -> list[object]:
    """What each function gives, run in a process of its own, all started by one barrier."""
    barrier, answers = FORK.Barrier(len(works)), FORK.Queue()

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        answers.put(work())

    processes = [FORK.Process(target=run, args=(work,)) for work in works]
    for process in processes:
        process.start()
    given = [answers.get(timeout=120) for _ in works]
    for process in processes:
        process.join()
    return given


def register(server: ModelRegistryServer, registration: Registration) -> tuple[str, bool]:
    try:
        registered = registry(server, retries=6).register(registration)
    except UserError as error:
        return str(error), False
    return registered.version, registered.created


@pytest.fixture
def warm() -> None:
    """Load what a registration needs before the processes are forked."""
    import mr_openapi  # noqa: F401


@pytest.mark.parametrize("version", ["auto", "3.2.1"])
def test_processes_racing_with_the_same_new_content_make_one_version(server, name, warm, version):
    answers = at_once([partial(register, server, model(name, "d1", version))] * PROCESSES)

    assert {given for given, _ in answers} == {"1.0.0" if version == "auto" else version}
    assert sorted(created for _, created in answers) == [False] * (PROCESSES - 1) + [True]
    assert len(registry(server).list_versions(name)) == 1
    assert registry(server).champion(name).artifact.state == "LIVE"


def test_processes_racing_with_different_content_make_a_version_each(server, name, warm):
    digests = [f"d{number}" for number in range(PROCESSES)]
    answers = at_once([partial(register, server, model(name, digest)) for digest in digests])

    assert sorted(answers) == [(f"1.0.{number}", True) for number in range(PROCESSES)]
    versions = registry(server).list_versions(name)
    assert {v.artifact.digest for v in versions} == set(digests)
    assert [v.version for v in versions if v.stage == "champion"] == [f"1.0.{PROCESSES - 1}"]
    assert states(server, name) == ["LIVE"]


def test_processes_racing_with_some_of_the_same_content_make_one_version_of_each(
    server, name, warm
):
    digests = ["d1", "d2", "d3", "d4"] * (PROCESSES // 4)
    answers = at_once([partial(register, server, model(name, digest)) for digest in digests])

    assert sorted({given for given, _ in answers}) == [f"1.0.{number}" for number in range(4)]
    assert sum(created for _, created in answers) == 4
    versions = registry(server).list_versions(name)
    assert sorted(v.artifact.digest for v in versions) == ["d1", "d2", "d3", "d4"]
    assert states(server, name) == ["LIVE"]


def test_of_processes_racing_for_one_version_with_different_content_one_wins(server, name, warm):
    works = [partial(register, server, model(name, f"d{n}", "1.0.0")) for n in range(PROCESSES)]
    answers = at_once(works)

    assert [a for a in answers if a[1]] == [("1.0.0", True)]
    refused = [message for message, created in answers if not created]
    assert all("version 1.0.0 is registered with other content" in m for m in refused)


def test_processes_racing_to_set_the_champion_leave_one(server, name, warm):
    versions = [registry(server).register(model(name, f"d{n}")).version for n in range(3)]

    def set_champions() -> RegisteredVersion:
        return [registry(server, retries=6).set_champion(name, v) for v in versions][-1]

    at_once([set_champions] * PROCESSES)

    listed = registry(server).list_versions(name)
    assert sorted(v.stage for v in listed) == ["archived", "archived", "champion"]
    assert states(server, name) == ["LIVE"]


def states(server: ModelRegistryServer, name: str) -> list[str]:
    """The states of those versions that are not archived, as others see them."""
    number = model_id(server, name)
    mine = [v for v in server.store.versions.values() if v["registeredModelId"] == number]
    return [v["state"] for v in mine if v["state"] != "ARCHIVED"]
