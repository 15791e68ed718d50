"""Model registries: the port (``port.py``), the rules they share (``rules.py``), the adapters, and
which of them a pipeline means (``resource.py``)."""

from resources.registry.embedded import EmbeddedRegistry
from resources.registry.port import (
    ANY_CHAMPION,
    ChampionChange,
    KeepsHistory,
    Property,
    RegisteredModel,
    RegisteredVersion,
    Registration,
    Registry,
)
from resources.registry.resource import (
    RegistryHub,
    RegistrySettings,
    open_registry,
    refuse_what_is_lost,
)
from resources.registry.rules import ChampionMovedError

__all__ = [
    "ANY_CHAMPION",
    "ChampionChange",
    "ChampionMovedError",
    "EmbeddedRegistry",
    "KeepsHistory",
    "Property",
    "RegisteredModel",
    "RegisteredVersion",
    "Registration",
    "Registry",
    "RegistryHub",
    "RegistrySettings",
    "open_registry",
    "refuse_what_is_lost",
]
