"""Registering from many processes at once, and being killed in the middle of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.registry.embedded import EmbeddedRegistry
from resources.registry.port import Registration
from tests.support.registry_processes import PROCESSES, at_once, kill_at_statement

MODEL = "demo-model"


def model(digest: str) -> Registration:
    return Registration(
        model=MODEL,
        digest=digest,
        uri=f"s3://m/{digest}",
        author="run",
        properties={"accuracy": 0.5, "rows": 3},
    )


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


def test_of_processes_that_all_met_the_same_champion_one_replaces_it(path):
    EmbeddedRegistry(path=path).register(model("d0"))

    def register(digest: str) -> str:
        try:
            checked = replace(model(digest), replaces="d0")
            return EmbeddedRegistry(path=path).register(checked).version
        except UserError as error:
            return str(error)

    answers = at_once([partial(register, f"d{number}") for number in range(1, PROCESSES)])

    assert answers.count("1.0.1") == 1
    refused = [answer for answer in answers if answer != "1.0.1"]
    assert all("the champion is demo-model 1.0.1 now" in answer for answer in refused)
    assert len(EmbeddedRegistry(path=path).list_versions(MODEL)) == 2


def test_processes_racing_to_set_the_champion_leave_one(path):
    registry = EmbeddedRegistry(path=path)
    versions = [registry.register(model(f"d{n}")).version for n in range(PROCESSES)]

    def set_champions() -> None:
        for version in versions:
            EmbeddedRegistry(path=path).set_champion(MODEL, version)

    at_once([set_champions] * PROCESSES)

    stages = [version.stage for version in registry.list_versions(MODEL)]
    assert sorted(stages) == ["archived"] * (PROCESSES - 1) + ["champion"]


def kill_at(path: str, statement: str) -> bool:
    """Register in a child that is killed before the first SQL statement with this start."""
    return kill_at_statement(lambda: EmbeddedRegistry(path=path).register(model("d2")), statement)


STATEMENTS = [
    "CREATE TABLE models",
    "CREATE TABLE str_properties",
    "INSERT INTO models",
    "UPDATE versions",
    "INSERT INTO versions",
    "INSERT INTO artifacts",
    "INSERT INTO int_properties",
    "INSERT INTO champions",
    "COMMIT",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_new_registry_whose_writer_was_killed_converges(path, statement):
    assert kill_at(path, statement)

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
    assert kill_at(path, statement)

    assert registry.champion(MODEL).artifact.digest == "d1"
    assert [v.stage for v in registry.list_versions(MODEL)] == ["champion"]
    assert registry.register(model("d2")).version == "1.0.1"
    assert registry.champion(MODEL).artifact.digest == "d2"
