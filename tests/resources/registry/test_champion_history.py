"""Who was champion when: promoting, going back, and files that kept no history yet."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.registry import EmbeddedRegistry, KeepsHistory, Registration
from resources.registry.port import ChampionChange
from resources.registry.rules import champions_in_order, rollback_target
from tests.support.registry_of_version_1 import write_registry_of_version_1
from tests.support.registry_processes import PROCESSES, at_once, kill_at_statement

MODEL = "demo-model"
SAID = {"by": "ann", "why": "it answers in rhymes"}


@pytest.fixture
def registry(tmp_path) -> EmbeddedRegistry:
    return EmbeddedRegistry(path=str(tmp_path / "models.db"))


def register(registry: EmbeddedRegistry, *digests: str) -> None:
    for digest in digests:
        registry.register(
            Registration(model=MODEL, digest=digest, uri=f"s3://m/{digest}", author="run")
        )


def champion(registry: EmbeddedRegistry, model: str = MODEL) -> str:
    found = [v.version for v in registry.list_versions(model) if v.stage == "champion"]
    assert len(found) == 1
    return found[0]


# --- going back


def test_a_rollback_goes_to_the_champion_before(registry):
    register(registry, "a", "b", "c")
    assert registry.rollback(MODEL, **SAID).version == "1.0.1"
    assert champion(registry) == "1.0.1"


def test_the_next_rollback_goes_further_back_and_never_to_what_was_rolled_back(registry):
    register(registry, "a", "b", "c")
    assert [registry.rollback(MODEL, **SAID).version for _ in range(2)] == ["1.0.1", "1.0.0"]
    with pytest.raises(UserError, match=r"no champion to go back to: 1\.0\.0 is the first one"):
        registry.rollback(MODEL, **SAID)
    register(registry, "d")
    assert registry.rollback(MODEL, **SAID).version == "1.0.0"


def test_a_rollback_may_name_a_former_champion(registry):
    register(registry, "a", "b", "c")
    assert registry.rollback(MODEL, "1.0.0", **SAID).version == "1.0.0"


def test_a_version_that_was_rolled_back_is_promoted_not_gone_back_to(registry):
    register(registry, "a", "b")
    registry.rollback(MODEL, **SAID)
    with pytest.raises(UserError, match=r"1\.0\.1 is no champion to go back to.*ft registry prom"):
        registry.rollback(MODEL, "1.0.1", **SAID)
    assert registry.promote(MODEL, "1.0.1", **SAID).version == "1.0.1"
    assert registry.rollback(MODEL, **SAID).version == "1.0.0"


def test_the_version_in_force_is_no_version_to_go_back_to(registry):
    register(registry, "a", "b")
    with pytest.raises(UserError, match=r"1\.0\.1 is in force already"):
        registry.rollback(MODEL, "1.0.1", **SAID)


@pytest.mark.parametrize("act", ["promote", "rollback"])
def test_unknown_names_are_refused_with_what_there_is(registry, act):
    register(registry, "a")
    with pytest.raises(UserError, match=r"model 'demo' is not registered; registered: demo-model"):
        getattr(registry, act)("demo", "1.0.0", **SAID)
    with pytest.raises(UserError, match=r"version '9\.9\.9' .* registered: 1\.0\.0"):
        getattr(registry, act)(MODEL, "9.9.9", **SAID)


def test_a_refused_change_leaves_no_trace(registry):
    register(registry, "a")
    before = registry.history(MODEL)
    with pytest.raises(UserError):
        registry.rollback(MODEL, **SAID)
    assert registry.history(MODEL) == before
    assert champion(registry) == "1.0.0"


# --- the history


def test_the_history_says_who_and_why(registry):
    assert isinstance(registry, KeepsHistory)
    register(registry, "a", "b")
    registry.rollback(MODEL, by="ann", why="it is rude")
    registry.promote(MODEL, "1.0.1", by="bob", why="it is polite again")

    changes = registry.history(MODEL)
    assert [(c.version, c.act, c.by, c.why) for c in changes] == [
        ("1.0.0", "registered", "run", ""),
        ("1.0.1", "registered", "run", ""),
        ("1.0.0", "rolled back", "ann", "it is rude"),
        ("1.0.1", "promoted", "bob", "it is polite again"),
    ]
    assert [change.at for change in changes] == sorted(change.at for change in changes)


def test_what_changes_nothing_is_no_history(registry):
    register(registry, "a", "a")
    registry.promote(MODEL, "1.0.0", **SAID)
    registry.set_champion(MODEL, "1.0.0")
    assert len(registry.history(MODEL)) == 1


def test_models_have_their_own_history(registry):
    register(registry, "a", "b")
    registry.register(Registration(model="other", digest="x", uri="s3://m/x", author="run"))
    assert [change.version for change in registry.history("other")] == ["1.0.0"]
    with pytest.raises(UserError, match="is not registered"):
        registry.history("nobody")


def changes(*acts: str) -> list[ChampionChange]:
    """``+1`` registered, ``^1`` promoted, ``-1`` rolled back to version 1."""
    names = {"+": "registered", "^": "promoted", "-": "rolled back"}
    return [
        ChampionChange(version=act[1:], act=names[act[0]], by="", why="", at="") for act in acts
    ]


@pytest.mark.parametrize(
    ("acts", "order"),
    [
        ([], []),
        (["+1", "+2", "+3"], ["1", "2", "3"]),
        (["+1", "+2", "-1"], ["1"]),
        (["+1", "+2", "-1", "+3"], ["1", "3"]),
        (["+1", "+2", "^1"], ["2", "1"]),
        (["+1", "+2", "+3", "-1", "^3"], ["1", "3"]),
        (["-1"], ["1"]),
    ],
)
def test_champions_stand_in_the_order_in_which_one_goes_back(acts, order):
    assert champions_in_order(changes(*acts)) == order


def test_a_model_without_any_champion_has_none_to_go_back_to():
    with pytest.raises(UserError, match="no champion to go back to: it has none"):
        rollback_target("m", [], None)


# --- processes


def test_processes_that_go_back_at_once_leave_one_champion_and_a_true_history(registry):
    register(registry, *(f"d{number}" for number in range(PROCESSES + 1)))
    path = registry.path

    def go_back() -> str:
        return EmbeddedRegistry(path=path).rollback(MODEL, **SAID).version

    gone_to = at_once([go_back] * PROCESSES)

    assert sorted(gone_to) == [f"1.0.{number}" for number in range(PROCESSES)]
    assert champion(registry) == "1.0.0"
    assert champions_in_order(registry.history(MODEL)) == ["1.0.0"]


@pytest.mark.parametrize("statement", ["UPDATE versions", "INSERT INTO champions", "COMMIT"])
def test_a_rollback_that_was_killed_has_not_happened(registry, statement):
    register(registry, "a", "b")
    path = registry.path
    died = kill_at_statement(lambda: EmbeddedRegistry(path=path).rollback(MODEL, **SAID), statement)
    assert died
    assert champion(registry) == "1.0.1"
    assert len(registry.history(MODEL)) == 2
    assert registry.rollback(MODEL, **SAID).version == "1.0.0"


# --- files of version 1


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "old.db"
    write_registry_of_version_1(path)
    return path


def schema_version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT version FROM schema_version").fetchone()[0]


def test_a_file_of_version_1_keeps_all_it_has_and_gets_a_history(old):
    registry = EmbeddedRegistry(path=str(old))
    versions = registry.list_versions("old")

    assert [v.version for v in versions] == ["1.0.2", "1.0.1", "1.0.0"]
    assert [v.properties for v in versions] == [{"loss": 4.0}, {"loss": 3.0}, {"loss": 2.0}]
    assert [v.artifact.uri for v in versions] == ["s3://m/d2", "s3://m/d1", "s3://m/d0"]
    assert champion(registry, "old") == "1.0.2"
    assert [(c.version, c.act, c.by, c.at[:10]) for c in registry.history("old")] == [
        ("1.0.0", "registered", "pipeline", "2026-01-01"),
        ("1.0.1", "registered", "pipeline", "2026-01-02"),
        ("1.0.2", "registered", "pipeline", "2026-01-03"),
    ]
    assert registry.rollback("old", **SAID).version == "1.0.1"
    assert schema_version(old) == 2


def test_a_champion_of_version_1_that_is_not_the_newest_was_gone_back_to(tmp_path):
    write_registry_of_version_1(tmp_path / "old.db", versions=4, champion=2)
    registry = EmbeddedRegistry(path=str(tmp_path / "old.db"))

    assert registry.history("old")[-1].act == "rolled back"
    assert "kept no history" in registry.history("old")[-1].why
    assert registry.rollback("old", **SAID).version == "1.0.1", "never to 1.0.3"


def test_a_model_goes_on_after_the_migration_as_before(old):
    registry = EmbeddedRegistry(path=str(old))
    again = registry.register(Registration(model="old", digest="d1", uri="s3://m/d1", author="run"))
    new = registry.register(Registration(model="old", digest="n", uri="s3://m/n", author="run"))
    assert (again.version, again.created) == ("1.0.1", False)
    assert (new.version, new.created) == ("1.0.3", True)


def test_processes_that_open_a_file_of_version_1_at_once_migrate_it_once(old):
    def work(number: int) -> tuple[list[str], str]:
        registry = EmbeddedRegistry(path=str(old))
        seen = [change.version for change in registry.history("old")[:3]]
        registration = Registration(model="old", digest=f"n{number}", uri="s3://m/n", author="r")
        return seen, registry.register(registration).version

    answers = at_once([partial(work, number) for number in range(PROCESSES)])

    assert all(seen == ["1.0.0", "1.0.1", "1.0.2"] for seen, _ in answers)
    assert sorted(int(v.rpartition(".")[2]) for _, v in answers) == list(range(3, 3 + PROCESSES))
    registry = EmbeddedRegistry(path=str(old))
    assert len(registry.history("old")) == 3 + PROCESSES
    assert champion(registry, "old") == f"1.0.{2 + PROCESSES}"


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE champions", "INSERT INTO champions", "UPDATE schema_version", "COMMIT"],
)
def test_a_migration_that_was_killed_leaves_version_1_and_is_done_by_the_next(old, statement):
    assert kill_at_statement(lambda: EmbeddedRegistry(path=str(old)).list_models(), statement)
    assert schema_version(old) == 1

    registry = EmbeddedRegistry(path=str(old))
    assert [change.version for change in registry.history("old")] == ["1.0.0", "1.0.1", "1.0.2"]
    assert schema_version(old) == 2


# --- a disk that several machines share


def test_a_shared_file_has_no_write_ahead_log(tmp_path):
    path = tmp_path / "models.db"
    register(EmbeddedRegistry(path=str(path)), "a")
    shared = EmbeddedRegistry(path=str(path), shared=True)
    register(shared, "b")

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert champion(shared) == "1.0.1"
