"""The store's connections to an S3 service, through boto3: for objects, and for large files' parts.

Does not belong here: what is asked of them (``objects``, ``upload``).
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 makes its clients at run time: there are no types to name.
from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Service:
    """Where objects are, and the patience with it.

    Args:
        endpoint_url: of a service other than AWS's; empty leaves it to boto3's environment.
        region: empty leaves it to boto3's environment.
        timeout: seconds without a byte after which a request counts as failed.
        attempts: how often a request is made before it is given up.
    """

    endpoint_url: str
    region: str
    timeout: float
    attempts: int


def connect(service: Service) -> Any:
    """A client for small objects and for what is read."""
    return _client(service, {})


def connect_for_parts(service: Service, client: Any) -> Any:
    """A client whose signatures leave out what is sent, so that it is not read once more for them.

    A part carries its CRC-32 against accidents, and who reads the file compares it with the digests
    of a manifest, which was sent by a client that signs. Where AWS's configuration asks for signed
    payloads, it is the one that signs.

    Args:
        service: the service.
        client: that of ``connect``.
    """
    if client.meta.config.s3.get("payload_signing_enabled"):
        return client
    return _client(service, {"payload_signing_enabled": False})


def _client(service: Service, options: dict[str, Any]) -> Any:
    from boto3.session import Session
    from botocore.config import Config

    # Services other than AWS's rarely have a host name per bucket.
    style = "path" if service.endpoint_url else "auto"
    # A session of its own: boto3's shared one is not safe among threads.
    return Session().client(
        "s3",
        endpoint_url=service.endpoint_url or None,
        region_name=service.region or None,
        config=Config(
            retries={"mode": "standard", "max_attempts": service.attempts},
            connect_timeout=min(service.timeout, 10),
            read_timeout=service.timeout,
            s3={"addressing_style": style, **options},
        ),
    )
