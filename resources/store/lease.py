"""A lease: one holder at a time, across processes, pods and machines, and for a limited time.

Belongs here: what a lease's record says, and when who may take it; no clock and no network, so that
every course of events can be tried. Does not belong here: how it is kept in a bucket
(``s3_lease.py``) or in a folder (``lock_file.py``).
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

from pydantic import ConfigDict, ValidationError

from resources.record import Record

LEASES = ".leases"
"""The folder of leases in a store; no asset key can be called so."""
RESOLUTION_SECONDS = 1
"""Servers tell time in whole seconds, so that an age can look this much greater than it is."""
_PLAIN = re.compile(r"[A-Za-z0-9._=-]{1,200}")


class LeaseLostError(Exception):
    """Another one may be holding, or have held, what this process took for its own: it must stop.

    Not the user's error: a later attempt waits for the other holder and finds what that one made.
    """


class Holder(Record):
    """Who holds a lease, for the message of who waits. Holds no secret."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    step: str
    host: str
    """In a cluster, the pod's name."""
    pid: int
    started_at: str
    """UTC, ISO 8601."""

    def __str__(self) -> str:
        """One phrase for people."""
        return (
            f"run {self.run_id}, step {self.step}, on {self.host} (process {self.pid}), "
            f"since {self.started_at}"
        )


class LeaseRecord(Record):
    """What is written down about a lease. A record is never changed, only followed by another."""

    model_config = ConfigDict(extra="ignore")

    holder: Holder
    term: int
    """Grows by one with every holder."""
    token: str
    """Of this holder in this term alone, so that it knows its own writes."""
    renewals: int
    """How often it was renewed; also makes each record, and so its ETag, another one."""
    ttl: float
    """Seconds after its writing during which nobody else may take the lease."""
    released: bool = False

    @classmethod
    def decode(cls, content: bytes) -> LeaseRecord | None:
        """The record; None when it is damaged, which frees the lease when its time is over."""
        try:
            return cls.model_validate_json(content)
        except ValidationError:
            return None

    def encode(self) -> bytes:
        """The record as it is written."""
        return self.model_dump_json().encode()

    def renewed(self) -> LeaseRecord:
        """The same lease for another ttl."""
        return self.model_copy(update={"renewals": self.renewals + 1})

    def let_go(self) -> LeaseRecord:
        """The lease given back: the next one need not wait for its end."""
        return self.model_copy(update={"renewals": self.renewals + 1, "released": True})

    def is_followed_by(self, other: LeaseRecord | None) -> bool:
        """Whether ``other`` is a later, or the same, record of the same holder and term."""
        return other is not None and other.token == self.token and not other.released


class Lease(Protocol):
    """A lease that is held."""

    def check(self) -> None:
        """Return when nobody else can be holding the lease; renews it where time is short.

        Raises:
            LeaseLostError: somebody can.
        """
        ...

    def confirm(self) -> None:
        """Ask the store itself, for the moment before the last act.

        Raises:
            LeaseLostError: somebody else holds the lease, or nobody knows.
        """
        ...


def this_holder(run_id: str, step: str) -> Holder:
    """This process, as it stands in the record of what it holds."""
    return Holder(
        run_id=run_id,
        step=step,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def first_record(previous: LeaseRecord | None, holder: Holder, ttl: float) -> LeaseRecord:
    """The record of a new holder, after ``previous``."""
    term = 1 if previous is None else previous.term + 1
    return LeaseRecord(holder=holder, term=term, token=secrets.token_hex(8), renewals=0, ttl=ttl)


def is_free(record: LeaseRecord | None, age: float, ttl: float) -> bool:
    """Whether another one may take a lease whose record was written ``age`` seconds ago.

    Args:
        record: as it stands in the store; None when it is damaged.
        age: by the clock of the server, in whole seconds: a host's own clock may be wrong.
        ttl: what counts for a damaged record.
    """
    if record is None:
        return age >= ttl + RESOLUTION_SECONDS
    return record.released or age >= record.ttl + RESOLUTION_SECONDS


def lease_name(parts: str) -> str:
    """A file or object name for any name of a lease, the same for the same one only."""
    if _PLAIN.fullmatch(parts) and not parts.startswith("."):
        return parts
    return sha256(parts.encode()).hexdigest()
