"""Which registry a pipeline means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resources.errors import UserError
from resources.registry import EmbeddedRegistry, RegistryHub, RegistrySettings, open_registry

EMBEDDED = RegistrySettings()
SERVER = RegistrySettings(
    address="https://registry.example.org",
    port=8443,
    custom_ca="/etc/ca.pem",
    token_env="REGISTRY_TOKEN",
    timeout=5.0,
    retries=2,
)


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("FT_REGISTRY_DB", raising=False)


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")


def test_without_an_address_it_is_the_embedded_registry_of_this_home():
    opened = open_registry(RegistryHub(path="/home/registry.db"), EMBEDDED)
    assert isinstance(opened, EmbeddedRegistry)
    assert (opened.path, opened.shared) == ("/home/registry.db", False)


def test_a_variable_names_another_file(monkeypatch):
    monkeypatch.setenv("FT_REGISTRY_DB", "/data/models.db")
    opened = open_registry(RegistryHub(path="/home/registry.db"), EMBEDDED)
    assert (opened.path, opened.shared) == ("/data/models.db", False)


@pytest.mark.usefixtures("cluster")
def test_in_a_cluster_the_embedded_registry_is_refused_with_both_remedies():
    with pytest.raises(
        UserError, match=r"lost with the pod: set registry\.address .* or set FT_RE"
    ):
        open_registry(RegistryHub(path="/home/registry.db"), EMBEDDED)


@pytest.mark.usefixtures("cluster")
def test_in_a_cluster_the_operator_can_say_that_the_file_is_on_shared_storage(monkeypatch):
    monkeypatch.setenv("FT_REGISTRY_DB", "/shared/models.db")
    opened = open_registry(RegistryHub(path="/home/registry.db"), EMBEDDED)
    assert (opened.path, opened.shared) == ("/shared/models.db", True)


@pytest.mark.usefixtures("cluster")
def test_an_address_is_a_server_and_gets_all_that_was_said_about_it():
    from resources.registry.kubeflow import KubeflowRegistry

    opened = open_registry(RegistryHub(path="/home/registry.db"), SERVER)
    assert isinstance(opened, KubeflowRegistry)
    assert (opened.address, opened.port) == (SERVER.address, 8443)
    assert (opened.token_env, opened.token_file) == ("REGISTRY_TOKEN", "")
    assert (opened.custom_ca, opened.timeout_seconds, opened.retries) == ("/etc/ca.pem", 5.0, 2)


def test_a_registry_in_the_hubs_place_stands_for_all(tmp_path):
    given = EmbeddedRegistry(path=str(tmp_path / "models.db"))
    assert open_registry(given, EMBEDDED) is given
    assert open_registry(given, SERVER) is given


def test_what_is_meant_is_said_in_words():
    assert EMBEDDED.where == "the embedded registry"
    assert SERVER.where == "the model registry at https://registry.example.org:8443"
    assert replace(SERVER, address="").kind == "sqlite"
