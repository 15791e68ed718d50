"""The ledger: what was asked for, in rows that only move forward."""

from __future__ import annotations

import threading

import dagster as dg
import pytest

from ft_assets.automation.new_data.ledger import Asked, Ledger, Turn

FIRST = Asked(1, "a" * 64, seen=False)
SEEN = Asked(1, "a" * 64, seen=True)
SECOND = Asked(2, "b" * 64, seen=False)


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def ledger(instance, request):
    return Ledger(instance.run_storage, request.node.name)


def test_what_was_never_asked_for_has_no_row(ledger):
    assert ledger.read(["drop-1"]) == {}
    assert ledger.read([]) == {}


def test_a_row_goes_from_asked_to_seen_to_the_next_number(ledger):
    for step in (FIRST, SEEN, SECOND):
        assert ledger.move({"drop-1": step}) == {"drop-1": step}


@pytest.mark.parametrize("back", [FIRST, SEEN])
def test_a_row_never_goes_back(ledger, back):
    ledger.move({"drop-1": SECOND})
    assert ledger.move({"drop-1": back}) == {"drop-1": SECOND}


def test_a_number_keeps_the_version_that_was_written_first(ledger):
    ledger.move({"drop-1": SECOND})
    other = Asked(2, "f" * 64, seen=False)
    assert ledger.move({"drop-1": other}) == {"drop-1": SECOND}


def test_the_tenth_version_comes_after_the_ninth(ledger):
    for number in (9, 10):
        ledger.move({"drop-1": Asked(number, "c", seen=True)})
    assert ledger.read(["drop-1"])["drop-1"].number == 10


def test_what_was_asked_for_and_not_seen_is_found_among_all(instance, ledger):
    Ledger(instance.run_storage, "another").move({"drop-9": FIRST})
    ledger.move({f"drop-{number}": FIRST for number in range(1, 5)})
    ledger.move({"drop-2": SEEN, "drop-4": SEEN})
    assert ledger.unseen(10) == {"drop-1": FIRST, "drop-3": FIRST}
    assert len(ledger.unseen(1)) == 1
    ledger.move({"drop-4": SECOND})
    assert ledger.unseen(10)["drop-4"] == SECOND


def test_pipelines_have_rows_of_their_own(instance):
    Ledger(instance.run_storage, "one").move({"drop-1": FIRST})
    assert Ledger(instance.run_storage, "two").read(["drop-1"]) == {}


def test_more_drops_than_a_statement_takes_are_read(ledger):
    ledger.move({"drop-7": FIRST})
    assert ledger.read(f"drop-{number}" for number in range(3000)) == {"drop-7": FIRST}


def test_the_run_key_follows_from_the_row():
    assert SECOND.run_key("drop-1") == "drop-1:2:" + "b" * 16


def test_a_row_whose_run_is_another_rows_keeps_the_key_of_that_one(ledger):
    taken = Asked(2, "c" * 40, seen=False, by=FIRST.run_key("drop-1"))
    assert ledger.move({"model": taken}) == {"model": taken}
    assert taken.run_key("model") == FIRST.run_key("drop-1")


def test_a_turn_is_taken_by_one_and_comes_after_those_that_were_taken(ledger):
    for number in range(12):
        turn = ledger.turn()
        assert turn.number == number
        assert [ledger.take(turn), ledger.take(turn)] == [True, False]


def test_what_is_said_with_a_turn_stands_until_the_next_one_is_taken(ledger):
    first = ledger.turn()
    assert ledger.take(first, "mine")
    assert not ledger.take(first, "somebody else's")
    assert ledger.turn() == Turn(1, "mine")
    assert ledger.take(ledger.turn())
    assert ledger.turn() == Turn(2)


def _race(storage):
    """Many writers of one number at the same time; what each of them then reads."""
    start, read = threading.Barrier(8), []

    def write(token):
        start.wait()
        read.append(Ledger(storage, "race").move({"d": Asked(1, token, seen=False)})["d"].token)

    writers = [threading.Thread(target=write, args=(str(n) * 64,)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return read


def test_of_many_writers_one_wins_and_all_know_it_in_sqlite(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        read = _race(instance.run_storage)
    assert len(read) == 8
    assert len(set(read)) == 1


def test_of_many_writers_one_wins_and_all_know_it_in_postgresql(postgres):
    pytest.importorskip("dagster_postgres")
    from dagster_postgres.run_storage import PostgresRunStorage

    storage = PostgresRunStorage.create_clean_storage(
        postgres.new_database().url.replace("postgresql", "postgresql+psycopg2", 1)
    )
    read = _race(storage)
    assert len(read) == 8
    assert len(set(read)) == 1
