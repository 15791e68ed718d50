"""Which registry a pipeline means: the Dagster resource ``registry``.

Belongs here: from an address to the adapter that speaks with it. Does not belong here: the
adapters.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dagster import ConfigurableResource

from resources.errors import UserError
from resources.registry.embedded import EmbeddedRegistry
from resources.registry.port import Registry

DATABASE_VARIABLE = "FT_REGISTRY_DB"
"""Environment variable: the embedded registry's file. In a cluster it must be set, and says that
the file lies on durable storage that all pods share."""


@dataclass(frozen=True)
class RegistrySettings:
    """Where a registry is and how it is reached; secrets by name only."""

    address: str = ""
    """``https://HOST`` or ``http://HOST``; empty means the embedded registry."""
    port: int = 443
    custom_ca: str = ""
    """PEM file of the authorities to trust in place of the system's; empty: the system's."""
    token_env: str = ""
    """Name of the environment variable with the bearer token; empty: none."""
    token_file: str = ""
    """File with the bearer token; empty: none."""
    timeout: float = 30.0
    """Seconds for one request."""
    retries: int = 5

    @property
    def kind(self) -> str:
        """What stands behind it, as Dagster's UI knows it."""
        return "kubeflow" if self.address else "sqlite"

    @property
    def where(self) -> str:
        """The registry in words."""
        if not self.address:
            return "the embedded registry"
        return f"the model registry at {self.address}:{self.port}"


class RegistryHub(ConfigurableResource[Any]):
    """All registries that pipelines can name; ``open_registry`` gives the one that is meant."""

    path: str
    """The SQLite file of the embedded registry."""

    def open(self, settings: RegistrySettings) -> Registry:
        """The registry that is meant; nothing is connected yet.

        Raises:
            UserError: the embedded registry is meant in a cluster, on storage that is not known to
                be durable.
        """
        if settings.address:
            return _kubeflow(settings)
        refuse_what_is_lost(settings)
        path = os.environ.get(DATABASE_VARIABLE) or self.path
        return EmbeddedRegistry(path=path, shared=in_cluster())


def open_registry(resource: RegistryHub | Registry, settings: RegistrySettings) -> Registry:
    """The registry that a pipeline means; a registry in the hub's place stands for all of them."""
    return resource.open(settings) if isinstance(resource, RegistryHub) else resource


def in_cluster() -> bool:
    """Whether this process runs in a Kubernetes pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def refuse_what_is_lost(settings: RegistrySettings) -> None:
    """Refuse the embedded registry in a pod, unless its file is said to be on durable storage.

    Costs nothing, so that a run can ask before its first step does anything.

    Raises:
        UserError: what is registered would be gone with the pod.
    """
    if not settings.address and in_cluster() and not os.environ.get(DATABASE_VARIABLE):
        raise UserError(
            "registry.address is empty, which means the embedded registry, and in a cluster its "
            "file would be lost with the pod: set registry.address to a model registry, or set "
            f"{DATABASE_VARIABLE} to a path on durable storage that all pods share"
        )


def _kubeflow(settings: RegistrySettings) -> Registry:
    from resources.registry.kubeflow import KubeflowRegistry

    return KubeflowRegistry(
        address=settings.address,
        port=settings.port,
        custom_ca=settings.custom_ca,
        token_env=settings.token_env,
        token_file=settings.token_file,
        timeout_seconds=settings.timeout,
        retries=settings.retries,
    )
