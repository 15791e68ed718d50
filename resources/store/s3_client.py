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


@dataclass(frozen=True)
class Clients:
    """Two ways of asking one service."""

    objects: Any
    """For small objects, and for what is read."""
    parts: Any
    """For large files: its signatures leave out what is sent, so that it is read once less.

    A part carries its CRC-32 against accidents, and who reads the file compares it with the digests
    of a manifest, which was sent by the client that signs. Where AWS's configuration asks for
    signed payloads, it is that one.
    """


def connect(service: Service) -> Clients:
    """The clients, of a session of their own: boto3's shared one is not safe among threads."""
    from boto3.session import Session

    session = Session()  # one for both: most of what a client costs is what its session loads
    objects = _client(session, service, {})
    if objects.meta.config.s3.get("payload_signing_enabled"):
        return Clients(objects, objects)
    return Clients(objects, _client(session, service, {"payload_signing_enabled": False}))


def _client(session: Any, service: Service, options: dict[str, Any]) -> Any:
    from botocore.config import Config

    # Services other than AWS's rarely have a host name per bucket.
    style = "path" if service.endpoint_url else "auto"
    return session.client(
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
