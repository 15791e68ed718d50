"""A lease in a bucket: an object that is made, renewed and taken over by conditional writes only.

Made with If-None-Match, renewed and taken over with If-Match on the ETag that was read, so that of
any number of writers exactly one wins. When it ends is judged by the server's clock alone; the
holder counts its own time from before each request, by a clock that nobody sets, and so gives up
before anybody can take over. What a lease's record says is in ``lease.py``.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resources.store.lease import (
    Holder,
    LeaseLostError,
    LeaseRecord,
    first_record,
    is_free,
)
from resources.store.objects import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resources.store.objects import Bucket

_log = logging.getLogger(__name__)

_RENEW_AFTER = 1 / 3
"""Of the ttl: two renewals may fail before the lease ends."""
_LONGEST_ANSWER_SECONDS = 5.0
_ATTEMPTS = 2
_TRIES = 3
_SHORTEST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0
"""Between two questions of who waits."""
# Goes on while the machine sleeps, where the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds on a clock that is never set."""
    return time.clock_gettime(_CLOCK)


class S3Lease:
    """A lease that this process holds, renewed by a thread of its own."""

    def __init__(
        self, bucket: Bucket, key: str, record: LeaseRecord, etag: str, asked_at: float
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._record = record
        self._etag = etag
        self._valid_until = asked_at + record.ttl
        self._lost_to: str | None = None
        self._one_writer = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Return when nobody else can be holding the lease; renews it where time is short.

        Raises:
            LeaseLostError: somebody can.
        """
        if self._lost_to is None and clock() < self._valid_until:
            return
        self.confirm()

    def confirm(self) -> None:
        """Renew the lease now: the server says whether it was this process's all the time.

        Raises:
            LeaseLostError: somebody else holds the lease, or the server does not answer and the
                time that this process knows of is over.
        """
        try:
            self._renew()
        except UnreachableError as error:
            if clock() < self._valid_until:
                return
            raise LeaseLostError(
                f"the lease {self._key} could not be renewed for {self._record.ttl:g} s, because "
                f"the artifact store does not answer ({error}): another run may be at this work "
                "by now, so this one stops and publishes nothing"
            ) from error

    def keep(self, on_lost: Callable[[LeaseLostError], None]) -> None:
        """Start to renew it; ``on_lost`` is called in another thread when that is over."""
        self._thread = threading.Thread(
            target=self._keep, args=[on_lost], name=f"lease {self._key}", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Give it back, if it is still this process's."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._lost_to is not None:
            return
        try:
            self._follow(LeaseRecord.let_go)
        except UnreachableError as error:
            # Nothing is lost by it: the next one waits until the time is over.
            _log.warning("the lease %s was not given back: %s", self._key, error)

    def _keep(self, on_lost: Callable[[LeaseLostError], None]) -> None:
        wait = self._record.ttl * _RENEW_AFTER
        while not self._over.wait(wait):
            try:
                self.confirm()
            except LeaseLostError as error:
                _log.warning("%s", error)
                on_lost(error)
                return
            left = self._valid_until - clock()
            wait = min(self._record.ttl * _RENEW_AFTER, max(left / 2, _SHORTEST_WAIT_SECONDS))

    def _renew(self) -> None:
        with self._one_writer:
            if self._lost_to is None:
                asked_at = clock()
                if self._follow(LeaseRecord.renewed):
                    self._valid_until = asked_at + self._record.ttl
                    return
                self._lost_to = self._who()
        raise LeaseLostError(
            f"the lease {self._key} is not this run's any more; it was held longer than "
            f"{self._record.ttl:g} s without a sign of life (paused, or cut off from the network) "
            f"and {self._lost_to}: this run stops and publishes nothing"
        )

    def _follow(self, change: Callable[[LeaseRecord], LeaseRecord]) -> bool:
        """Write the next record in place of this process's last one; False when it is not there.

        A write whose answer was lost may have taken place: then that record is the last one.
        """
        for _ in range(_TRIES):
            following = change(self._record)
            etag = self._bucket.replace(self._key, following.encode(), self._etag)
            if etag is not None:
                self._record, self._etag = following, etag
                return True
            found = self._bucket.stamped(self._key)
            record = None if found is None else LeaseRecord.decode(found.content)
            if found is None or record is None or not self._record.is_followed_by(record):
                return False
            self._record, self._etag = record, found.etag
        return False

    def _who(self) -> str:
        found = self._bucket.stamped(self._key)
        record = None if found is None else LeaseRecord.decode(found.content)
        if record is None:
            return "its record was removed"
        return f"{'was then' if record.released else 'is now'} held by {record.holder}"


@contextmanager
def s3_lease(
    bucket: Bucket,
    key: str,
    holder: Holder,
    *,
    ttl: float,
    on_wait: Callable[[Holder | None], None],
    on_lost: Callable[[LeaseLostError], None],
) -> Generator[S3Lease]:
    """Hold the lease ``key``; waits while another one does.

    Args:
        bucket: where it is kept.
        key: the object.
        holder: who takes it.
        ttl: seconds without a renewal after which another one may take it.
        on_wait: called once when another one holds it, with who that is where it is known.
        on_lost: called in another thread when it is lost before the block ends.

    Raises:
        UnreachableError: the store does not answer, when asked first or for a whole ttl.
    """
    # Who holds a lease must know before its end that the service does not answer.
    soon = bucket.with_patience(min(_LONGEST_ANSWER_SECONDS, ttl / 6), _ATTEMPTS)
    lease = _acquired(soon, key, holder, ttl, on_wait)
    lease.keep(on_lost)
    try:
        yield lease
    finally:
        lease.end()


def _acquired(
    bucket: Bucket,
    key: str,
    holder: Holder,
    ttl: float,
    on_wait: Callable[[Holder | None], None],
) -> S3Lease:
    waited = False
    answered_at: float | None = None
    while True:
        try:
            lease, other = _taken(bucket, key, holder, ttl)
            answered_at = clock()
        except UnreachableError:
            if answered_at is None or clock() - answered_at > ttl:
                raise
            lease, other = None, None
        if lease is not None:
            return lease
        if not waited:
            on_wait(other)
            waited = True
        # By chance longer or shorter: many that wait together do not all ask together.
        time.sleep(min(_LONGEST_WAIT_SECONDS, ttl / 10) * random.uniform(0.5, 1.5))  # noqa: S311


def _taken(
    bucket: Bucket, key: str, holder: Holder, ttl: float
) -> tuple[S3Lease | None, Holder | None]:
    """The lease, or who holds it; neither when another one was quicker."""
    found = bucket.stamped(key)
    previous = None if found is None else LeaseRecord.decode(found.content)
    if found is not None and not is_free(previous, found.age, ttl):
        return None, None if previous is None else previous.holder
    record = first_record(previous, holder, ttl)
    asked_at = clock()
    etag = (
        bucket.create(key, record.encode())
        if found is None
        else bucket.replace(key, record.encode(), found.etag)
    )
    if etag is None:  # it may be this very write, whose answer was lost
        now = bucket.stamped(key)
        if now is None or now.content != record.encode():
            return None, None
        etag = now.etag
    return S3Lease(bucket, key, record, etag, asked_at), None
