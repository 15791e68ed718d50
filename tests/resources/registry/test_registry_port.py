"""What every registry does, asked of each: embedded, and Kubeflow's server in two versions."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import UserError
from resources.registry.embedded import EmbeddedRegistry
from resources.registry.kubeflow import KubeflowRegistry
from resources.registry.port import KeepsHistory, RegisteredVersion, Registration, Registry
from tests.support.model_registry_server import model_registry_server

MODEL = "demo-model"


@pytest.fixture(params=["embedded", "v1", "v1alpha3"])
def registry(request, tmp_path) -> Generator[Registry]:
    if request.param == "embedded":
        yield EmbeddedRegistry(path=str(tmp_path / "models.db"))
        return
    with model_registry_server(request.param) as server:
        server.longest_page = 2  # so that every list has pages
        yield KubeflowRegistry(address=server.url, retries=0)


def model(digest: str, version: str = "auto", **more) -> Registration:
    defaults = {"model": MODEL, "uri": f"s3://models/{digest}", "author": "run 1"}
    return Registration(digest=digest, version=version, **(defaults | more))


def stages(registry: Registry) -> dict[str, tuple[str, str]]:
    return {v.version: (v.stage, v.state) for v in registry.list_versions(MODEL)}


def without_created(version: RegisteredVersion) -> dict[str, object]:
    return {name: value for name, value in vars(version).items() if name != "created"}


def test_a_registered_model_has_all_that_was_said_about_it(registry):
    registered = registry.register(
        model(
            "d1",
            owner="team nlp",
            description="answers questions",
            format_name="gguf",
            format_version="3",
            properties={"accuracy": 0.5, "rows": 10},
        )
    )

    assert registered.created
    assert (registered.model, registered.version) == (MODEL, "1.0.0")
    assert (registered.state, registered.stage) == ("LIVE", "champion")
    assert (registered.author, registered.description) == ("run 1", "answers questions")
    artifact = registered.artifact
    assert (artifact.uri, artifact.digest, artifact.state) == ("s3://models/d1", "d1", "LIVE")
    assert (artifact.format_name, artifact.format_version) == ("gguf", "3")
    assert registered.properties == {"accuracy": 0.5, "rows": 10}
    assert registered.created_at <= registered.updated_at
    assert registered.created_at.endswith("+00:00")
    assert [(m.name, m.owner, m.champion) for m in registry.list_models()] == [
        (MODEL, "team nlp", "1.0.0")
    ]


def test_what_is_read_is_what_was_registered(registry):
    registered = registry.register(model("d1", properties={"a": 1}))
    read = registry.get(MODEL, "1.0.0")

    assert not read.created
    assert without_created(read) == without_created(registered)
    assert registry.champion(MODEL) == read
    assert registry.list_versions(MODEL) == [read]


def test_auto_counts_patches_from_the_base_version(registry):
    versions = [registry.register(model(d, base_version="2.1.0")).version for d in "abc"]
    assert versions == ["2.1.0", "2.1.1", "2.1.2"]


def test_auto_follows_the_highest_version_by_number_not_by_text(registry):
    for digest, version in [("a", "1.9.0"), ("b", "1.10.3"), ("c", "1.2.0")]:
        registry.register(model(digest, version))
    assert registry.register(model("d")).version == "1.10.4"
    listed = [version.version for version in registry.list_versions(MODEL)]
    assert listed == ["1.10.4", "1.10.3", "1.9.0", "1.2.0"]


@pytest.mark.parametrize("version", ["auto", "1.0.0"])
def test_the_same_content_again_is_the_version_that_it_has(registry, version):
    first = registry.register(model("d1"))
    again = registry.register(model("d1", version, author="run 2"))

    assert not again.created
    assert without_created(again) == without_created(first)
    assert len(registry.list_versions(MODEL)) == 1


def test_the_same_content_under_another_explicit_version_is_refused(registry):
    registry.register(model("d1"))
    with pytest.raises(
        UserError, match=r"registered as version 1\.0\.0 already.*cannot be 2\.0\.0"
    ):
        registry.register(model("d1", "2.0.0"))


def test_an_explicit_version_with_other_content_is_refused_and_changes_nothing(registry):
    registry.register(model("d1", "1.2.3"))
    with pytest.raises(UserError, match=r"version 1\.2\.3 is registered with other content"):
        registry.register(model("d2", "1.2.3", owner="someone else"))
    assert registry.champion(MODEL).artifact.digest == "d1"
    assert [(m.name, m.owner) for m in registry.list_models()] == [(MODEL, None)]


def test_the_same_content_of_another_training_adds_nothing_to_the_version(registry):
    first = registry.register(model("d1", properties={"partition": "drop-1", "rows": 10}))
    measured = {"partition": "drop-3", "rows": 12, "seconds": 3.5}
    again = registry.register(model("d1", uri="s3://models/other", properties=measured))

    assert (again.version, again.created) == ("1.0.0", False)
    assert again.properties == first.properties
    assert again.artifact == first.artifact


def test_the_same_digest_under_two_models_is_two_versions(registry):
    assert registry.register(model("d1")).created
    assert registry.register(model("d1", model="other")).created
    assert [m.name for m in registry.list_models()] == [MODEL, "other"]


def test_new_content_becomes_champion_and_the_former_one_is_archived(registry):
    registry.register(model("d1"))
    registry.register(model("d2"))
    assert stages(registry) == {"1.0.1": ("champion", "LIVE"), "1.0.0": ("archived", "ARCHIVED")}
    assert registry.champion(MODEL).version == "1.0.1"


def test_content_replaces_the_champion_that_it_was_compared_with(registry):
    registry.register(model("d1", replaces=None))
    assert registry.register(model("d2", replaces="d1")).stage == "champion"


@pytest.mark.parametrize("compared", [None, "d1"])
def test_content_that_was_compared_with_another_champion_is_refused_and_changes_nothing(
    registry, compared
):
    registry.register(model("d1"))
    registry.register(model("d2"))
    with pytest.raises(
        UserError, match=r"champion is demo-model 1\.0\.1 now, .* eval_report again"
    ):
        registry.register(model("d3", replaces=compared, owner="someone else"))
    assert registry.champion(MODEL).artifact.digest == "d2"
    assert len(registry.list_versions(MODEL)) == 2
    assert registry.register(model("d3", replaces="d2")).version == "1.0.2"


def test_content_that_was_compared_with_a_champion_of_a_new_model_is_refused(registry):
    with pytest.raises(UserError, match=r"has no champion now, .* eval_report again"):
        registry.register(model("d1", replaces="d0"))


def test_content_that_is_registered_already_replaces_nobody(registry):
    registry.register(model("d1", replaces=None))
    registry.register(model("d2"))
    assert not registry.register(model("d1", replaces=None)).created
    assert registry.champion(MODEL).artifact.digest == "d2"


def test_new_content_with_a_lower_version_becomes_champion_too(registry):
    registry.register(model("d1", "2.0.0"))
    assert registry.register(model("d2", "1.0.0")).stage == "champion"


def test_registering_archived_content_again_does_not_change_the_champion(registry):
    registry.register(model("d1"))
    registry.register(model("d2"))
    again = registry.register(model("d1"))
    assert (again.version, again.created, again.stage) == ("1.0.0", False, "archived")
    assert registry.champion(MODEL).version == "1.0.1"


def test_a_former_version_can_be_put_in_force_again(registry):
    registry.register(model("d1"))
    registry.register(model("d2"))
    assert registry.set_champion(MODEL, "1.0.0").stage == "champion"
    assert stages(registry) == {"1.0.1": ("archived", "ARCHIVED"), "1.0.0": ("champion", "LIVE")}
    assert registry.register(model("d3")).version == "1.0.2"


def test_putting_the_champion_in_force_changes_nothing(registry):
    registry.register(model("d1"))
    before = registry.champion(MODEL)
    assert registry.set_champion(MODEL, "1.0.0") == before
    assert registry.promote(MODEL, "1.0.0", by="ann", why="") == before
    assert len(registry.history(MODEL)) == 1


def test_the_history_says_who_and_why(registry):
    assert isinstance(registry, KeepsHistory)
    registry.register(model("d1"))
    registry.register(model("d2"))
    registry.rollback(MODEL, by="ann", why="it is rude")
    registry.promote(MODEL, "1.0.1", by="bob", why="it is polite again")

    changes = registry.history(MODEL)
    assert [(c.version, c.act, c.by, c.why) for c in changes] == [
        ("1.0.0", "registered", "run 1", ""),
        ("1.0.1", "registered", "run 1", ""),
        ("1.0.0", "rolled back", "ann", "it is rude"),
        ("1.0.1", "promoted", "bob", "it is polite again"),
    ]
    assert [change.at for change in changes] == sorted(change.at for change in changes)


def test_rollbacks_go_further_back_and_never_to_what_was_rolled_back(registry):
    for digest in "abc":
        registry.register(model(digest))
    said = {"by": "ann", "why": "it is rude"}
    assert [registry.rollback(MODEL, **said).version for _ in range(2)] == ["1.0.1", "1.0.0"]
    with pytest.raises(UserError, match=r"no champion to go back to: 1\.0\.0 is the first one"):
        registry.rollback(MODEL, **said)
    with pytest.raises(UserError, match=r"1\.0\.2 is no champion to go back to"):
        registry.rollback(MODEL, "1.0.2", **said)
    with pytest.raises(UserError, match=r"version '9\.9\.9' .* is not registered"):
        registry.rollback(MODEL, "9.9.9", **said)
    assert registry.champion(MODEL).version == "1.0.0"


def test_a_model_that_nobody_registered_has_no_champion(registry):
    assert registry.champion(MODEL) is None
    assert registry.list_models() == []


def test_an_owner_can_be_named_later(registry):
    registry.register(model("d1"))
    registry.register(model("d1", owner="team nlp"))
    registry.register(model("d2"))
    found = registry.list_models()[0]
    assert (found.owner, found.champion) == ("team nlp", "1.0.1")


def test_properties_that_were_missing_are_added_and_those_there_stay(registry):
    registry.register(model("d1", properties={"accuracy": 0.5}))
    registry.register(model("d2"))
    again = registry.register(model("d1", properties={"accuracy": 0.9, "rows": 2**40}))
    assert again.properties == {"accuracy": 0.5, "rows": 2**40}
    assert again.state == "ARCHIVED"


def test_unknown_names_are_errors_that_list_what_there_is(registry):
    registry.register(model("d1"))
    registry.register(model("d2"))
    for ask in (registry.get, registry.set_champion):
        with pytest.raises(UserError, match=r"model 'demo' is not registered; .*: demo-model"):
            ask("demo", "1.0.0")
        with pytest.raises(UserError, match=r"version '9\.9\.9' of model 'demo-model'.*1.0.1, 1.0"):
            ask(MODEL, "9.9.9")
    with pytest.raises(UserError, match=r"model 'demo' is not registered"):
        registry.list_versions("demo")


def test_values_that_no_registry_keeps_are_refused(registry):
    with pytest.raises(UserError, match="only finite numbers"):
        registry.register(model("d1", properties={"loss": float("nan")}))
    assert registry.list_models() == []


VALUES = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([999_999_999, 1_000_000_000, -1_000_000_000, 2**31, 0])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["1000000000", "1", "true", ""])
)
NAMES = st.text(min_size=1, max_size=255).filter(str.strip)


@given(properties=st.dictionaries(NAMES, VALUES, max_size=6))
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_properties_come_back_with_value_and_type(registry, properties):
    digest = repr(sorted(properties.items()))
    name = f"m{abs(hash(digest))}"
    registry.register(model(digest, model=name, properties=properties))

    read = registry.champion(name).properties
    assert read == properties
    assert {n: type(v) for n, v in read.items()} == {n: type(v) for n, v in properties.items()}
