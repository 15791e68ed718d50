"""Names by Kubernetes' rules: of objects, labels, resources, variables and places in a container.

Each function gives its value back, or raises ``ValueError`` with what is wrong and what to write.
"""

from __future__ import annotations

import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CAPABILITY = re.compile(r"[A-Z][A-Z0-9_]*")
_PATH_PART = r"[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]+)?/)?"  # the registry
    rf"{_PATH_PART}(/{_PATH_PART})*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(@[a-z0-9]+:[0-9a-fA-F]{32,})?"
)

MAX_LABEL = 63
MAX_SUBDOMAIN = 253
ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes of all keys and values together."""

RESERVED_PREFIXES = ("ft-assets/", "dagster/", "batch.kubernetes.io/")
RESERVED_KEYS = frozenset(
    {
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/component",
        "job-name",
        "controller-uid",
    }
)
"""What Dagster, the Job controller and this platform write themselves."""


def dns_label(name: str) -> str:
    """The name of a volume."""
    if len(name) > MAX_LABEL or not _DNS_LABEL.fullmatch(name):
        raise ValueError(
            f"{name!r} is no DNS-1123 label: lower-case letters, digits and '-', beginning and "
            f"ending with a letter or digit, up to {MAX_LABEL} characters"
        )
    return name


def dns_subdomain(name: str) -> str:
    """The name of a secret, a config map, a claim, a service account or a class."""
    if len(name) > MAX_SUBDOMAIN or not _DNS_SUBDOMAIN.fullmatch(name):
        raise ValueError(
            f"{name!r} is no DNS-1123 name: lower-case letters, digits, '-' and '.', beginning "
            f"and ending with a letter or digit, up to {MAX_SUBDOMAIN} characters"
        )
    return name


def qualified(key: str) -> bool:
    """Whether a text is a key of labels: ``[prefix/]name``."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= MAX_SUBDOMAIN and _DNS_SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= MAX_LABEL and _NAME_PART.fullmatch(name) is not None


def label_key(key: str) -> str:
    """The key of a label."""
    if not qualified(key):
        raise ValueError(
            f"{key!r} is not a Kubernetes label key: [prefix/]name, the prefix a DNS name, the "
            f"name letters, digits, '.', '_' and '-', up to {MAX_LABEL} characters"
        )
    return key


def label_value(key: str, value: str) -> str:
    """The value of a label."""
    if value and (len(value) > MAX_LABEL or not _NAME_PART.fullmatch(value)):
        raise ValueError(
            f"{key}: {value!r} is not a label value: letters, digits, '.', '_', '-', up to "
            f"{MAX_LABEL} characters"
        )
    return value


def free_key(key: str) -> str:
    """A key of a label that nobody else writes."""
    if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES):
        raise ValueError(
            f"{key!r} is written by the platform on every pod: choose a key of your own, such as "
            "example.com/team"
        )
    return key


def label_map(given: dict[str, str]) -> dict[str, str]:
    """Keys and values of labels or of a node selector."""
    for key, value in given.items():
        label_value(label_key(key), value)
    return given


def annotation_map(given: dict[str, str]) -> dict[str, str]:
    """Annotations: keys of any case, any values, 256 KiB in all."""
    for key in given:
        label_key(key.lower())
    size = sum(len(text.encode()) for pair in given.items() for text in pair)
    if size > ANNOTATIONS_LIMIT:
        raise ValueError(
            f"are {size} bytes together, and Kubernetes takes {ANNOTATIONS_LIMIT} (256 KiB): "
            "shorten them, or put the text into a config map"
        )
    return given


def resource_name(name: str) -> str:
    """The name of an extended resource."""
    domain, slash, _ = name.partition("/")
    if not slash or not qualified(name) or domain.endswith("kubernetes.io"):
        raise ValueError(
            f"{name!r} is no extended resource: write DOMAIN/NAME as the device plugin announces "
            "it, such as nvidia.com/gpu or rdma/hca"
        )
    return name


def variable(name: str) -> str:
    """The name of an environment variable."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            f"{name!r} is not the name of an environment variable: letters, digits and '_', not "
            "beginning with a digit"
        )
    return name


def capability(name: str) -> str:
    """The name of a Linux capability as Kubernetes writes it."""
    if not _CAPABILITY.fullmatch(name) or name.startswith("CAP_"):
        raise ValueError(f"{name!r} is no Linux capability: write it as IPC_LOCK, without CAP_")
    return name


def image(name: str) -> str:
    """The reference of a container image."""
    if not _IMAGE.fullmatch(name):
        raise ValueError(
            f"is {name!r}: no image reference; write [REGISTRY/]NAME[:TAG][@DIGEST], the name in "
            "lower case"
        )
    return name


def mount_path(path: str) -> str:
    """A folder in the container."""
    if not path.startswith("/") or ":" in path or ".." in path.split("/") or path == "/":
        raise ValueError(
            f"{path!r} is no place for a volume: write an absolute path below /, without ':' and "
            "'..'"
        )
    return path
