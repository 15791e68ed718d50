"""When a drop is complete: unchanged for long enough, or marked."""

from __future__ import annotations

from ft_assets.automation.new_data.state import WATCHED
from tests.support.new_data_looks import look
from tests.support.new_data_world import times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n'


def test_a_drop_is_complete_when_two_looks_find_it_the_same(world):
    here = world(quiet=60)
    here.store.put("drop-1", "a.jsonl", ROWS)
    assert look(here) == "drop-1: complete when unchanged for 60 s more"
    assert look(here, after=20) == "drop-1: complete when unchanged for 40 s more"
    here.store.put("drop-1", "b.jsonl", ROWS)
    assert look(here, after=45) == "drop-1: complete when unchanged for 60 s more"
    here.now += 60
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_a_clock_that_is_put_back_makes_nobody_wait_longer_than_quiet(world):
    here = world(quiet=60)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick()
    assert look(here, after=-5000) == "drop-1: complete when unchanged for 60 s more"
    here.now += 60
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_with_a_marker_only_the_marker_completes_a_drop(world):
    here = world(marker="_SUCCESS")
    here.store.put("drop-1", "a.jsonl", ROWS)
    look(here)
    assert look(here, after=9000) == "drop-1: waits for the marker _SUCCESS"
    here.store.put("drop-1", "_SUCCESS", b"")
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_drops_that_never_get_a_marker_do_not_keep_others_out(world):
    here = world(marker="_SUCCESS")
    for number in range(WATCHED + 5):
        here.store.put(f"a-{number:03}", "a.jsonl", ROWS)
    look(here)
    here.store.put("b-1", "a.jsonl", ROWS)
    here.store.put("b-1", "_SUCCESS", b"")
    look(here)
    look(here)
    assert times_asked(here) == {"b-1": 1}
