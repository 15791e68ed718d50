"""Registering from many processes at once, and being killed in the middle of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from resources.registry.embedded import EmbeddedRegistry
from resources.registry.port import Registration

MODEL = "demo-model"
PROCESSES = 8
FORK = multiprocessing.get_context("fork")


def model(digest: str) -> Registration:
    return Registration(
        model=MODEL,
        digest=digest,
        uri=f"s3://m/{digest}",
        author="run",
        properties={"accuracy": 0.5, "rows": 3},
    )


def at_once(works: list[Callable[[], object]]) -> list[object]:
    """What each function gives, run in a process of its own, all started by one barrier."""
    barrier, answers = FORK.Barrier(len(works)), FORK.Queue()

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        answers.put(work())

    processes = [FORK.Process(target=run, args=(work,)) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(works)
    return [answers.get() for _ in works]


def register_at_once(path: str, digests: list[str]) -> list[tuple[str, bool]]:
    def register(digest: str) -> tuple[str, bool]:
        registered = EmbeddedRegistry(path=path).register(model(digest))
        return registered.version, registered.created

    return at_once([partial(register, digest) for digest in digests])


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "models.db")


def test_processes_racing_with_the_same_new_content_make_one_version(path):
    answers = register_at_once(path, ["d1"] * PROCESSES)

    assert {version for version, _ in answers} == {"1.0.0"}
    assert sorted(created for _, created in answers) == [False] * (PROCESSES - 1) + [True]
    assert len(EmbeddedRegistry(path=path).list_versions(MODEL)) == 1


def test_processes_racing_with_different_content_make_a_version_each_and_one_champion(path):
    answers = register_at_once(path, [f"d{number}" for number in range(PROCESSES)])

    assert sorted(answers) == [(f"1.0.{number}", True) for number in range(PROCESSES)]
    versions = EmbeddedRegistry(path=path).list_versions(MODEL)
    assert [v.version for v in versions if v.stage == "champion"] == [f"1.0.{PROCESSES - 1}"]
    assert len({v.artifact.digest for v in versions}) == PROCESSES


def test_processes_racing_to_set_the_champion_leave_one(path):
    registry = EmbeddedRegistry(path=path)
    versions = [registry.register(model(f"d{n}")).version for n in range(PROCESSES)]

    def set_champions() -> None:
        for version in versions:
            EmbeddedRegistry(path=path).set_champion(MODEL, version)

    at_once([set_champions] * PROCESSES)

    stages = [version.stage for version in registry.list_versions(MODEL)]
    assert sorted(stages) == ["archived"] * (PROCESSES - 1) + ["champion"]


def kill_at_statement(path: str, start: str) -> int | None:
    """Register in a child that kills itself before the first SQL statement with this start."""

    real_connect = sqlite3.connect

    def die_at(statement: str) -> None:
        if statement.lstrip().startswith(start):
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = real_connect(*arguments, **options)
        connection.set_trace_callback(die_at)
        return connection

    def work() -> None:
        sqlite3.connect = connect  # in the child only
        EmbeddedRegistry(path=path).register(model("d2"))

    child = FORK.Process(target=work)
    child.start()
    child.join()
    return child.exitcode


STATEMENTS = [
    "CREATE TABLE models",
    "CREATE TABLE str_properties",
    "INSERT INTO models",
    "UPDATE versions",
    "INSERT INTO versions",
    "INSERT INTO artifacts",
    "INSERT INTO int_properties",
    "COMMIT",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_new_registry_whose_writer_was_killed_converges(path, statement):
    assert kill_at_statement(path, statement) == -signal.SIGKILL

    registry = EmbeddedRegistry(path=path)
    assert registry.list_models() == []
    registered = registry.register(model("d2"))
    assert (registered.version, registered.stage) == ("1.0.0", "champion")
    assert registered.created
    assert registered.properties == {"accuracy": 0.5, "rows": 3}
    assert registered.artifact.state == "LIVE"


@pytest.mark.parametrize("statement", [s for s in STATEMENTS if not s.startswith("CREATE")])
def test_the_champion_stays_when_the_writer_of_the_next_was_killed(path, statement):
    registry = EmbeddedRegistry(path=path)
    registry.register(model("d1"))
    # The file is there, so that the first COMMIT is the registration's.
    assert Path(path).exists()
    assert kill_at_statement(path, statement) == -signal.SIGKILL

    assert registry.champion(MODEL).artifact.digest == "d1"
    assert [v.stage for v in registry.list_versions(MODEL)] == ["champion"]
    assert registry.register(model("d2")).version == "1.0.1"
    assert registry.champion(MODEL).artifact.digest == "d2"
