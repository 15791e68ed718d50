"""What a lease's record allows, in every course of events: pauses, late answers, damaged records.

The server here is a record, an ETag and the second at which it was written, as S3 keeps them; it
tells time in whole seconds. Holders count their own time from before each request. Whatever
happens, at no instant do two of them take the lease for theirs.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resources.store.lease import (
    LeaseRecord,
    first_record,
    is_free,
    lease_name,
    this_holder,
)

TTL = 10
SHORT = 2
"""Seconds of a lease where many of them are to end in one course of events."""
WORKERS = st.integers(0, 2)
MOMENTS = st.integers(0, 8).map(lambda tenths: Fraction(tenths, 10))


class Leases(RuleBasedStateMachine):
    """Three workers and a server; requests take time, and any worker may be paused anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Fraction(0)
        self.record: LeaseRecord | None = None
        self.etag = 0
        self.written_at = Fraction(0)
        self.mine: dict[int, tuple[LeaseRecord, int, Fraction]] = {}
        """By worker: the record it wrote, its ETag, and until when it takes it for its own."""
        self.terms: list[int] = []

    def write(self, record: LeaseRecord, expected: int) -> bool:
        """A conditional write: one of all those that expect the same ETag."""
        if expected != self.etag:
            return False
        self.record, self.etag, self.written_at = record, self.etag + 1, self.now
        return True

    @rule(tenths=st.integers(1, 15 * SHORT))
    def time_passes(self, tenths):
        self.now += Fraction(tenths, 10)

    @rule(worker=WORKERS, there=MOMENTS, between=MOMENTS, back=MOMENTS)
    def take(self, worker, there, between, back):
        self.now += there
        seen, etag = self.record, self.etag
        age = math.floor(self.now) - math.floor(self.written_at)
        free = etag == 0 or is_free(seen, age, SHORT)
        self.now += back
        if not free:
            return
        asked_at = self.now
        self.now += between
        record = first_record(seen, this_holder(f"run-{worker}", "train"), SHORT)
        if self.write(record, etag):
            self.terms.append(record.term)
            self.mine[worker] = record, self.etag, asked_at + SHORT

    @rule(worker=WORKERS, there=MOMENTS, answered=st.booleans())
    def renew(self, worker, there, answered):
        if worker not in self.mine:
            return
        record, etag, until = self.mine[worker]
        asked_at = self.now
        self.now += there
        if self.write(record.renewed(), etag):
            if answered:
                self.mine[worker] = record.renewed(), self.etag, asked_at + SHORT
        elif record.is_followed_by(self.record):  # its own write, whose answer was lost
            self.mine[worker] = self.record, self.etag, until
        else:
            del self.mine[worker]

    @rule(worker=WORKERS)
    def give_back(self, worker):
        if worker in self.mine:
            record, etag, _ = self.mine.pop(worker)
            self.write(record.let_go(), etag)

    @rule(worker=WORKERS)
    def is_killed(self, worker):
        self.mine.pop(worker, None)

    @invariant()
    def one_holder_at_a_time(self):
        sure = [worker for worker, (_, _, until) in self.mine.items() if self.now < until]
        assert len(sure) <= 1, f"{sure} take the lease for their own at {self.now}"

    @invariant()
    def every_term_is_later_than_the_last(self):
        assert self.terms == sorted(set(self.terms))


Leases.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
TestLeases = Leases.TestCase


def record(**changed) -> LeaseRecord:
    return first_record(None, this_holder("r", "s"), TTL).model_copy(update=changed)


@pytest.mark.parametrize(("age", "free"), [(0, False), (10, False), (11, True), (1000, True)])
def test_a_lease_is_free_a_second_after_its_time_because_servers_tell_whole_seconds(age, free):
    assert is_free(record(), age, TTL) is free


def test_the_time_of_a_lease_is_its_holders_not_that_of_who_asks():
    assert not is_free(record(ttl=100), 50, ttl=10)


def test_a_lease_that_was_given_back_is_free_at_once():
    assert is_free(record().let_go(), 0, TTL)


def test_a_damaged_record_frees_the_lease_when_its_time_is_over():
    assert LeaseRecord.decode(b'{"holder":') is None
    assert not is_free(None, 5, TTL)
    assert is_free(None, 11, TTL)


def test_a_record_is_not_followed_by_that_of_another_term_or_by_one_given_back():
    mine = record()
    assert mine.is_followed_by(mine.renewed())
    assert not mine.is_followed_by(None)
    assert not mine.is_followed_by(mine.let_go())
    assert not mine.is_followed_by(first_record(mine, mine.holder, TTL))


def test_a_record_comes_back_as_it_was_written():
    assert LeaseRecord.decode(record(renewals=3).encode()).renewals == 3


def test_names_of_leases_are_names_of_objects_and_stay_apart():
    names = ["demo-model-all", "a b", "a/b", "../x", ".x", "ä", "x" * 300]
    safe = [lease_name(name) for name in names]
    assert safe[0] == names[0]
    assert len(set(safe)) == len(names)
    assert all("/" not in name and not name.startswith(".") for name in safe)
