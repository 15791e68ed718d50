"""Model registries: the port (``port.py``), the rules they share (``rules.py``), the adapters."""

from resources.registry.embedded import EmbeddedRegistry
from resources.registry.port import (
    Property,
    RegisteredModel,
    RegisteredVersion,
    Registration,
    Registry,
)

__all__ = [
    "EmbeddedRegistry",
    "Property",
    "RegisteredModel",
    "RegisteredVersion",
    "Registration",
    "Registry",
]
