"""The ``registry`` block: which registry is meant, and what goes with it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ft_assets.config import RegistryConfig
from resources.registry import RegistrySettings

HTTPS = "https://registry.example.org"


def test_without_an_address_the_embedded_registry_is_meant():
    settings = RegistryConfig().settings()
    assert (settings.address, settings.kind, settings.where) == (
        "",
        "sqlite",
        "the embedded registry",
    )


@pytest.mark.parametrize(
    ("address", "given", "port"),
    [(HTTPS, {}, 443), ("http://r", {}, 8080), (HTTPS, {"port": 7}, 7)],
)
def test_the_port_follows_the_scheme_where_it_is_not_given(address, given, port):
    settings = RegistryConfig(address=address, **given).settings()
    assert (settings.port, settings.kind) == (port, "kubeflow")
    assert settings.where == f"the model registry at {address}:{port}"


def test_all_that_reaches_a_server_is_passed_on():
    config = RegistryConfig(
        address=HTTPS,
        port=8443,
        custom_ca="/etc/ca.pem",
        token_env="REGISTRY_TOKEN",
        timeout=5,
        retries=2,
    )
    assert config.settings() == RegistrySettings(
        address=HTTPS,
        port=8443,
        custom_ca="/etc/ca.pem",
        token_env="REGISTRY_TOKEN",
        timeout=5.0,
        retries=2,
    )


def test_an_address_is_kept_in_one_spelling():
    assert RegistryConfig(address="HTTPS://Registry.example.org/").address == HTTPS
    assert RegistryConfig(address=f"{HTTPS}/models/").address == f"{HTTPS}/models"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"port": 8080}, "port: address is empty, .* leave port out"),
        ({"token_env": "T"}, "token_env: address is empty"),
        ({"custom_ca": "/ca.pem"}, "custom_ca: address is empty"),
        ({"address": HTTPS, "token_env": "T", "token_file": "/t"}, "both name the token"),
        ({"address": "http://r", "custom_ca": "/ca.pem"}, "no certificate to verify"),
        ({"address": "http://r", "token_env": "T"}, "readable by all on the way"),
        ({"address": "http://r", "token_file": "/t"}, "token_file: .* write https://"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_remedy(values, said):
    with pytest.raises(ValidationError, match=said):
        RegistryConfig(**values)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_token_may_go_to_this_machine_without_tls(host):
    assert RegistryConfig(address=f"http://{host}", token_env="T").settings().token_env == "T"


@pytest.mark.parametrize(
    "values",
    [
        {"address": "https://me:geheim@host"},
        {"address": "https://geheim@host"},
        {"address": "https://host?token=geheim"},
        {"address": "mlflow://me:geheim@host"},
        {"address": HTTPS, "token_env": "hf_geheimgeheimgeheim"},
        {"address": HTTPS, "token_env": "geheim" * 40},
    ],
)
def test_a_secret_is_refused_and_never_shown(values):
    with pytest.raises(ValidationError, match="token") as refused:
        RegistryConfig(**values)
    assert "geheim" not in str(refused.value)
