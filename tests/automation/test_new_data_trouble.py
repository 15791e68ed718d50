"""What goes wrong, and what is too much: a look loses nothing, and asks for nothing twice."""

from __future__ import annotations

import json

from ft_assets.automation.new_data import look as look_module
from ft_assets.automation.new_data.state import WATCHED
from resources.sources import SourceUnavailableError
from tests.support.new_data_looks import look
from tests.support.new_data_world import times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n'


def test_a_source_that_does_not_answer_ends_the_look_and_loses_nothing(world, monkeypatch):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)

    def refuse(*args, **kwargs):
        raise SourceUnavailableError("s3://bucket: does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(type(here.store.sources), "drop_pages", refuse)
        reason = look(here)
    assert reason == "The source could not be looked at: s3://bucket: does not answer"
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_one_drop_that_cannot_be_read_does_not_hide_the_others(world, tmp_path):
    here = world(quiet=0)
    (here.store.root / "bad").symlink_to(tmp_path)
    here.store.put("good", "a.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"good": 1}
    assert "bad: cannot be read: " in look(here)


def test_a_cursor_that_cannot_be_read_starts_anew_and_asks_for_nothing_twice(world):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    for broken in ("not json", '{"version": 99}', "[]"):
        here.write_cursor(broken)
        here.rest()
    assert times_asked(here) == {"drop-1": 1}


def test_the_cursor_stays_small_whatever_waits(world):
    here = world(quiet=60)
    for number in range(WATCHED + 100):
        here.store.put(f"drop-{number}", "a.jsonl", ROWS)
    here.tick()
    assert len(json.loads(here.cursor)["watched"]) == WATCHED
    assert len(here.cursor) < 32_000


def test_more_drops_than_are_watched_are_all_asked_for(world, monkeypatch):
    monkeypatch.setattr(look_module, "WATCHED", 5)
    here = world(quiet=60)
    for number in range(18):
        here.store.put(f"drop-{number}", "a.jsonl", ROWS)
    here.rest()
    assert len(times_asked(here)) == 18
