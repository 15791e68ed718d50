"""The ``registry`` block: where, and under which name and version, a model is registered."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter
from ft_assets.config.secret import is_secret_value, secret_error

if TYPE_CHECKING:
    from resources.registry import RegistrySettings

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_PORTS = {"http": 8080, "https": 443}
_FOR_A_SERVER = ("port", "token_env", "token_file", "custom_ca")


class RegistryConfig(Block):
    """Where and as what a model that has won is registered."""

    address: str = parameter(
        "",
        "Address of a Kubeflow Model Registry, https://HOST or http://HOST. Empty means the "
        "embedded registry: a SQLite file under FT_HOME, or the one that FT_REGISTRY_DB names.",
        seed=("phase_04_registry_man_address",),
    )
    port: int | None = parameter(
        None,
        "Port of the server; 443 for https and 8080 for http when not given.",
        seed=("phase_04_registry_opt_port",),
        ge=1,
        le=65535,
    )
    token_env: str | None = parameter(
        None,
        "Name of the environment variable that holds the server's bearer token.",
        pattern=r"^[A-Za-z_]\w*$",
    )
    token_file: str | None = parameter(
        None,
        "Absolute path of a file that holds the server's bearer token, such as a mounted secret; "
        "read again when it changes.",
        pattern=r"^/",
    )
    custom_ca: str | None = parameter(
        None,
        "Absolute path of a PEM file with the authorities that have signed the server's "
        "certificate, in place of the system's. The certificate is always verified.",
        pattern=r"^/",
    )
    timeout: float = parameter(30.0, "Seconds that one request may take.", gt=0.0, le=3600.0)
    retries: int = parameter(
        5,
        "How often a request is sent again after 429, a 5xx or a broken connection, with growing "
        "pauses.",
        ge=0,
        le=20,
    )
    name: str = parameter(
        "sft-model",
        "Name of the model in the registry.",
        seed=("phase_04_registry_man_name", "phase_04_registry_man_reg_name"),
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,249}$",
    )
    version: str = parameter(
        "auto",
        "auto: the next patch version for each new model, from base_version on; or a version "
        "major.minor.patch, which then stands for one model for ever.",
        seed=("phase_04_registry_man_version", "phase_04_registry_man_reg_version"),
    )
    base_version: str = parameter("1.0.0", "The first version that auto gives.")
    author: str = parameter(
        "pipeline",
        "Who registers the model.",
        seed=("phase_04_registry_man_author", "phase_04_registry_man_reg_author"),
        min_length=1,
    )
    description: str = parameter(
        "",
        "Description of the version; a line that names the pipeline when empty.",
        seed=("phase_04_registry_opt_description",),
        max_length=4096,
    )
    format_name: Literal["safetensors", "pytorch"] = parameter(
        "safetensors",
        "Model format to record. The files are a Hugging Face folder with safetensors weights, "
        "which pytorch (the name that the Kubeflow pipelines give it) loads too.",
        seed=("phase_04_registry_opt_format_name",),
    )
    format_version: str = parameter(
        "1.0",
        "Version of the format to record.",
        seed=("phase_04_registry_opt_format_version",),
        min_length=1,
    )

    def settings(self) -> RegistrySettings:
        """How the registry is reached, for ``resources.registry.open_registry``."""
        from resources.registry import RegistrySettings  # brings Dagster, and workers read blocks

        scheme = self.address.partition("://")[0]
        return RegistrySettings(
            address=self.address,
            port=self.port or _PORTS.get(scheme, 0),
            custom_ca=self.custom_ca or "",
            token_env=self.token_env or "",
            token_file=self.token_file or "",
            timeout=self.timeout,
            retries=self.retries,
        )

    @field_validator("version", "base_version")
    @classmethod
    def _semver(cls, version: str, info: object) -> str:
        auto = getattr(info, "field_name", "") == "version" and version == "auto"
        if not auto and not _SEMVER.fullmatch(version):
            raise ValueError(f"is {version!r}: set auto or three numbers such as 1.0.0")
        return version

    @field_validator("token_env", mode="before")
    @classmethod
    def _is_no_token(cls, name: Any) -> Any:
        if isinstance(name, str) and (is_secret_value(name) or len(name) > 128):  # noqa: PLR2004
            raise secret_error(
                "this is a token itself: put it into an environment variable and write the "
                "variable's name here"
            )
        return name

    @field_validator("address")
    @classmethod
    def _address(cls, address: str) -> str:
        if not address:
            return address
        if "@" in address or is_secret_value(address):
            raise secret_error(
                "it holds a password or a token: write https://HOST, and name the token with "
                "token_env or token_file"
            )
        if address.startswith(("mlflow://", "mlflow+http://", "mlflow+https://")):
            raise ValueError(
                "the MLflow adapter is not built yet: name a Kubeflow Model Registry "
                "(https://HOST), or leave the address empty for the embedded registry"
            )
        return _plain_address(address)

    @model_validator(mode="after")
    def _fits_the_address(self) -> RegistryConfig:
        given = [name for name in _FOR_A_SERVER if getattr(self, name) is not None]
        if not self.address and given:
            raise ValueError(
                f"{given[0]}: address is empty, and the embedded registry is a file that knows no "
                f"{given[0]}: set address, or leave {given[0]} out"
            )
        if self.token_env and self.token_file:
            raise ValueError("token_env and token_file both name the token: keep one of them")
        if self.address.startswith("http://"):
            _refuse_what_needs_tls(self)
        return self


def _plain_address(address: str) -> str:
    """The address in one spelling: scheme and host in lower case, no slash at the end."""
    parts = urlsplit(address)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(
            f"is {address!r}: write https://HOST, or http://HOST for a server without TLS"
        )
    if ":" in parts.netloc.rpartition("]")[2]:
        raise ValueError(f"is {address!r}: the port is a parameter of its own, registry.port")
    if parts.query or parts.fragment:
        raise ValueError(f"is {address!r}: write it without ? and #")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _refuse_what_needs_tls(config: RegistryConfig) -> None:
    if config.custom_ca:
        raise ValueError("custom_ca: http:// has no certificate to verify: write https://")
    host = urlsplit(config.address).hostname or ""
    named = "token_env" if config.token_env else "token_file" if config.token_file else None
    if named and not _is_this_machine(host):
        raise ValueError(
            f"{named}: a token would be readable by all on the way to {config.address}: write "
            "https://"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
