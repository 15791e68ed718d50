"""Which champion may be replaced on a Model Registry server, and one that was lost."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from resources.errors import UserError
from resources.registry.kubeflow import KubeflowRegistry
from resources.registry.kubeflow.properties import encode, merge
from resources.registry.port import ANY_CHAMPION, Registration
from tests.support.model_registry_server import Fault, ModelRegistryServer, model_registry_server
from tests.support.model_registry_store import ARTIFACT, VERSION, Entity

NAME = "demo"


@pytest.fixture
def server() -> Generator[ModelRegistryServer]:
    with model_registry_server("v1") as server:
        yield server


@pytest.fixture
def registry(server) -> KubeflowRegistry:
    return KubeflowRegistry(address=server.url, retries=0)


def model(digest: str, replaces: str | None = ANY_CHAMPION) -> Registration:
    return Registration(
        model=NAME, digest=digest, uri=f"s3://m/{digest}", author="run", replaces=replaces
    )


def begun(server: ModelRegistryServer, digest: str) -> Entity:
    """A version that another registration has made, and not yet its artifact."""
    record = next(iter(server.store.models.values()))
    body = {"name": "7.0.0", "state": "ARCHIVED", "customProperties": encode({"ft_digest": digest})}
    return server.store.create(VERSION, body, int(record["id"]))


def completed(server: ModelRegistryServer, version: Entity) -> None:
    """The rest of that registration: the artifact and the champion."""
    artifact = {"name": "model", "uri": "s3://m", "customProperties": version["customProperties"]}
    server.store.create(ARTIFACT, artifact, int(version["id"]))
    record = next(iter(server.store.models.values()))
    change = {"champion": version["name"], "ft_promoted": int(version["id"])}
    record["customProperties"] = merge(record.get("customProperties", {}), change)


def meanwhile(server: ModelRegistryServer, act: Callable[[], object]) -> None:
    """Let another act when the next registration has made its artifact."""

    def be_faster(number: int, when: str) -> None:
        asked = server.requests[number]
        if when == "after" and asked.startswith("POST ") and asked.endswith("/artifacts"):
            server.on_request = None
            act()

    server.on_request = be_faster


def lose(server: ModelRegistryServer, *names: str) -> None:
    """Someone replaces the model's properties; without names, all of them."""
    properties = next(iter(server.store.models.values()))["customProperties"]
    for name in names or list(properties):
        del properties[name]


# --- the champion that a version was compared with


def test_a_champion_that_came_during_the_registration_is_not_replaced_unseen(server, registry):
    registry.register(model("v1"))
    other = begun(server, "B")
    meanwhile(server, lambda: completed(server, other))

    with pytest.raises(UserError, match=r"the champion is demo 7\.0\.0 now"):
        registry.register(model("A", replaces="v1"))
    assert registry.champion(NAME).artifact.digest == "B"
    late = next(v for v in registry.list_versions(NAME) if v.artifact.digest == "A")
    assert (late.stage, late.waiting) == ("archived", True)

    with pytest.raises(UserError, match=r"the champion is demo 7\.0\.0 now"):
        registry.register(model("A", replaces="v1"))
    again = registry.register(model("A", replaces="B"))
    assert (again.version, again.stage, again.waiting) == (late.version, "champion", False)


def test_a_version_that_was_passed_over_says_so(server, registry):
    registry.register(model("v1"))
    meanwhile(server, lambda: completed(server, begun(server, "B")))

    with pytest.raises(UserError, match=r"demo 1\.0\.1 is registered and archived: 7\.0\.0 became"):
        registry.register(model("A", replaces="v1"))
    assert registry.champion(NAME).artifact.digest == "B"
    again = registry.register(model("A", replaces="v1"))
    assert (again.created, again.stage) == (False, "archived")


def test_a_version_that_waits_is_not_put_in_force_by_the_next_registration(server, registry):
    registry.register(model("v1"))
    other = begun(server, "B")
    meanwhile(server, lambda: completed(server, other))
    with pytest.raises(UserError):
        registry.register(model("A", replaces="v1"))

    assert registry.register(model("C", replaces="B")).stage == "champion"
    stages = {v.artifact.digest: v.stage for v in registry.list_versions(NAME)}
    assert stages == {"v1": "archived", "B": "archived", "A": "archived", "C": "champion"}


# --- a champion that was lost


@pytest.mark.parametrize("lost", [(), ("champion",), ("champion", "ft_promoted")], ids=str)
@pytest.mark.parametrize("versions", [["d1"], ["d1", "d2"]], ids=len)
def test_nothing_is_put_in_force_on_a_model_that_lost_its_champion(
    server, registry, versions, lost
):
    for digest in versions:
        registry.register(model(digest))
    lose(server, *lost)

    newest = f"1.0.{len(versions) - 1}"
    remedy = rf"has versions and no champion.*ft registry promote demo {newest} --why TEXT"
    for replaces in (ANY_CHAMPION, None, "d1"):
        with pytest.raises(UserError, match=remedy):
            registry.register(model("new", replaces))
    registry.register(model(versions[-1]))  # what is there already stays as it is
    assert registry.champion(NAME) is None
    assert len(registry.list_versions(NAME)) == len(versions)
    assert not all(version.waiting for version in registry.list_versions(NAME))

    registry.promote(NAME, newest, by="ann", why="it was the champion")
    assert registry.register(model("new", replaces=versions[-1])).stage == "champion"


def test_a_champion_that_is_lost_during_a_registration_is_not_replaced(server, registry):
    registry.register(model("d1"))

    def lose_it(number: int, when: str) -> None:
        if when == "after" and server.requests[number].startswith("POST "):
            server.on_request = None
            lose(server)

    server.on_request = lose_it
    with pytest.raises(UserError, match="has versions and no champion"):
        registry.register(model("d2", replaces="d1"))
    assert registry.champion(NAME) is None


# --- what is deleted or changed at the same moment


@pytest.mark.parametrize(
    ("method", "status", "words"),
    [
        ("PATCH", "404", "answers 404 to PATCH .*run again"),
        ("PATCH", "409", "answers 409 to PATCH .*changes it at the same moment: run again"),
        ("POST", "404", "answers 404 to POST .*deleted it meanwhile, or a gateway"),
    ],
)
def test_a_write_that_meets_another_ends_in_words(server, registry, method, status, words):
    registry.register(model("d1"))
    server.forget()
    registry.register(model("d2"))  # as the next one, which so is known to fail at this request
    number = next(n for n, asked in enumerate(server.requests) if asked.startswith(method))
    server.forget()
    server.faults[number] = Fault("before", status)
    with pytest.raises(UserError, match=words):
        registry.register(model("d3"))
