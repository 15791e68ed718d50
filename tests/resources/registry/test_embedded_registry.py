"""The rules of registration, on a real SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import UserError
from resources.registry import database
from resources.registry.embedded import EmbeddedRegistry
from resources.registry.port import Registration, Registry

MODEL = "demo-model"


@pytest.fixture
def registry(tmp_path) -> EmbeddedRegistry:
    return EmbeddedRegistry(path=str(tmp_path / "registry" / "models.db"))


def model(digest: str, version: str = "auto", **more) -> Registration:
    defaults = {"model": MODEL, "uri": f"s3://models/{digest}", "author": "run 1"}
    return Registration(digest=digest, version=version, **(defaults | more))


def stages(registry: Registry, name: str = MODEL) -> dict[str, tuple[str, str]]:
    return {v.version: (v.stage, v.state) for v in registry.list_versions(name)}


def execute(registry: EmbeddedRegistry, statement: str) -> None:
    with closing(sqlite3.connect(registry.path)) as database, database:
        database.execute(statement)


# --- what a registration gives


def test_the_file_survives_the_registry_that_wrote_it(registry):
    registry.register(model("d1"))
    assert EmbeddedRegistry(path=registry.path).champion(MODEL) == registry.champion(MODEL)


# --- versions


def test_versions_are_listed_newest_first_by_number(registry):
    for digest, version in [("a", "1.9.0"), ("b", "1.10.0"), ("c", "0.1.0"), ("d", "10.0.0")]:
        registry.register(model(digest, version))
    listed = [version.version for version in registry.list_versions(MODEL)]
    assert listed == ["10.0.0", "1.10.0", "1.9.0", "0.1.0"]


def test_models_count_their_versions_apart(registry):
    registry.register(model("d1"))
    registry.register(model("d2", model="other"))
    assert [m.name for m in registry.list_models()] == [MODEL, "other"]
    assert registry.get("other", "1.0.0").artifact.digest == "d2"


def test_an_explicit_version_with_other_content_is_refused(registry):
    registry.register(model("d1", "1.2.3"))
    with pytest.raises(UserError, match=r"version 1\.2\.3 is registered with other content"):
        registry.register(model("d2", "1.2.3"))
    assert registry.champion(MODEL).artifact.digest == "d1"


def test_a_refused_registration_leaves_no_model_behind(registry):
    registry.register(model("d1", "1.0.0"))
    with pytest.raises(UserError):
        registry.register(model("d2", "1.0.0", owner="someone else"))
    assert [(m.name, m.owner) for m in registry.list_models()] == [(MODEL, None)]


# --- champions


def test_after_a_rollback_auto_still_counts_from_the_highest(registry):
    registry.register(model("d1"))
    registry.register(model("d2"))
    registry.set_champion(MODEL, "1.0.0")
    assert registry.register(model("d3")).version == "1.0.2"


def test_the_file_itself_refuses_a_second_champion(registry):
    registry.register(model("d1"))
    registry.register(model("d2"))
    with pytest.raises(sqlite3.IntegrityError):
        execute(registry, "UPDATE versions SET stage = 'champion', state = 'LIVE'")


def test_a_model_that_lost_its_champion_takes_no_new_one_by_itself(registry):
    registry.register(model("d1"))
    execute(registry, "UPDATE versions SET stage = 'archived', state = 'ARCHIVED'")
    with pytest.raises(UserError, match=r"ft registry promote demo-model 1\.0\.0 --why TEXT"):
        registry.register(model("d2"))
    assert list(stages(registry)) == ["1.0.0"]


# --- repair


def test_a_missing_artifact_is_shown_as_pending_and_repaired(registry):
    whole = registry.register(model("d1"))
    execute(registry, "DELETE FROM artifacts")
    assert registry.get(MODEL, "1.0.0").artifact.state == "PENDING"

    repaired = registry.register(model("d1"))
    assert not repaired.created
    assert repaired.artifact == whole.artifact


def test_missing_properties_are_repaired_and_those_there_are_stay(registry):
    registry.register(model("d1", properties={"accuracy": 0.5, "rows": 1}))
    execute(registry, "DELETE FROM int_properties")

    repaired = registry.register(model("d1", properties={"accuracy": 0.9, "rows": 2}))
    assert repaired.properties == {"accuracy": 0.5, "rows": 2}


# --- unknown names


def test_an_unknown_model_is_an_error_that_lists_the_models(registry):
    registry.register(model("d1"))
    message = r"model 'demo' is not registered; registered: demo-model"
    for ask in (
        lambda: registry.list_versions("demo"),
        lambda: registry.get("demo", "1.0.0"),
        lambda: registry.set_champion("demo", "1.0.0"),
    ):
        with pytest.raises(UserError, match=message):
            ask()


def test_an_unknown_version_is_an_error_that_lists_the_versions(registry):
    registry.register(model("d1"))
    registry.register(model("d2"))
    message = r"version '9\.9\.9' of model 'demo-model' is not registered; registered: 1.0.1, 1.0.0"
    for ask in (registry.get, registry.set_champion):
        with pytest.raises(UserError, match=message):
            ask(MODEL, "9.9.9")


def test_a_long_list_of_names_is_cut(registry):
    for number in range(12):
        registry.register(model(f"d{number}"))
    with pytest.raises(UserError, match=r"1\.0\.2 and 2 more$"):
        registry.get(MODEL, "9.9.9")


# --- properties


VALUES = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
NAMES = st.text(min_size=1, max_size=255).filter(str.strip)


@given(properties=st.dictionaries(NAMES, VALUES, max_size=6))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_properties_come_back_with_value_and_type(registry, properties):
    digest = repr(sorted(properties.items()))
    name = f"m{abs(hash(digest))}"
    registry.register(model(digest, model=name, properties=properties))

    read = registry.champion(name).properties
    assert read == properties
    assert {n: type(v) for n, v in read.items()} == {n: type(v) for n, v in properties.items()}


def test_true_one_and_one_point_zero_are_three_things(registry):
    registry.register(model("d1", properties={"bool": True, "int": 1, "float": 1.0, "str": "1"}))
    properties = registry.champion(MODEL).properties
    assert {name: type(value).__name__ for name, value in properties.items()} == {
        name: name for name in ("bool", "int", "float", "str")
    }


# --- refused files


def test_a_file_that_is_no_database_is_the_users_error(tmp_path):
    (tmp_path / "models.db").write_text("this is a text file, and a long one at that" * 100)
    with pytest.raises(UserError, match=r"models.db: it is not an SQLite file"):
        EmbeddedRegistry(path=str(tmp_path / "models.db")).list_models()


def test_a_folder_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="cannot be opened"):
        EmbeddedRegistry(path=str(tmp_path)).list_models()


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (text)")
    with pytest.raises(UserError, match="schema version 0"):
        EmbeddedRegistry(path=str(path)).list_models()


def test_a_newer_schema_is_refused(registry):
    registry.register(model("d1"))
    execute(registry, "UPDATE schema_version SET version = 3")
    with pytest.raises(
        UserError, match=r"schema version 3, and this release reads versions up to 2"
    ):
        registry.register(model("d2"))


def test_the_file_uses_a_write_ahead_log(registry):
    registry.register(model("d1"))
    with closing(sqlite3.connect(registry.path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert Path(registry.path).parent.is_dir()


def test_a_registry_that_another_program_keeps_locked_is_named(registry, monkeypatch):
    registry.register(model("d1"))
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0)
    with closing(sqlite3.connect(registry.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match=r"models\.db: another program has kept it locked"):
            registry.register(model("d2"))


def test_a_damaged_registry_is_named(registry):
    registry.register(model("d1"))
    execute(registry, "PRAGMA journal_mode = delete")
    path = Path(registry.path)
    pages = path.read_bytes()
    path.write_bytes(pages[:4096] + b"\xff" * (len(pages) - 4096))
    with pytest.raises(UserError, match=r"models\.db: it is damaged: bring it back from a backup"):
        registry.champion(MODEL)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"models\.db: .*check the path and its permissions"):
        EmbeddedRegistry(path=str(tmp_path / "file" / "models.db")).list_models()
