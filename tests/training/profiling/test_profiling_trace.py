"""Reading a Chrome trace: every event once, in little memory, and never a traceback."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from ft_assets.training.profiling import chrome_trace
from ft_assets.training.profiling.chrome_trace import read_events
from resources.errors import UserError
from tests.support.chrome_traces import event, text_of, write_trace

EVENTS = [
    event(f"aten::op{n} «µ»", n * 10.5, 3.25, shape=[[n, 2], "[1, {", '"]']) for n in range(40)
]


def plain(folder: Path, text: str) -> Path:
    file = folder / "trace.json"
    file.write_text(text)
    return file


def test_every_event_comes_once_and_in_order(tmp_path):
    assert list(read_events(write_trace(tmp_path, EVENTS))) == EVENTS


def test_a_trace_need_not_be_packed_and_may_have_no_spaces(tmp_path):
    assert list(read_events(plain(tmp_path, json.dumps({"traceEvents": EVENTS})))) == EVENTS
    assert list(read_events(plain(tmp_path, '{"a":{"traceEvents":[1]},"traceEvents":[]}'))) == []


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_an_event_may_lie_across_any_borders_of_what_is_read(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(chrome_trace, "_CHUNK", chunk)
    assert list(read_events(plain(tmp_path, text_of(EVENTS[:5])))) == EVENTS[:5]


def test_a_trace_is_never_held_as_a_whole(tmp_path):
    file = plain(tmp_path, text_of(EVENTS * 1500))
    size = file.stat().st_size
    assert size > 10 << 20
    tracemalloc.start()
    for number, _ in enumerate(read_events(file)):
        if number == 3_500:  # tracing is slow, and more than a chunk has been read
            break
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 << 20


def test_a_trace_cut_off_anywhere_is_refused(tmp_path):
    text = text_of(EVENTS[:3])
    for length in range(0, len(text.rstrip("}").rstrip()), 7):
        with pytest.raises(UserError, match=r"trace\.json: the trace (is|has)"):
            list(read_events(plain(tmp_path, text[:length])))


def test_a_packed_trace_cut_off_anywhere_is_refused(tmp_path):
    file = write_trace(tmp_path, EVENTS)
    packed = file.read_bytes()
    for length in range(3, len(packed), 25):
        file.write_bytes(packed[:length])
        with pytest.raises(UserError, match="cut off or damaged"):
            list(read_events(file))


def test_a_flipped_byte_in_a_packed_trace_is_refused(tmp_path):
    file = write_trace(tmp_path, EVENTS)
    packed = bytearray(file.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    file.write_bytes(packed)
    with pytest.raises(UserError, match="damaged"):
        list(read_events(file))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"traceEvents": {}}',
        '{"traceEvents": [1]}',
        '{"traceEvents": [{} {}]}',
        '{"traceEvents": [' + "[" * 100_000,
        '{"traceEvents": [{"ts": ' + "9" * 10_000 + "}]}",
        '{"x": "' + "a" * (3 << 20) + '"}',
        "\x80\x04\x95pickled",
    ],
    ids=range(11),
)
def test_what_is_no_trace_is_refused_with_the_file_s_name(tmp_path, text):
    with pytest.raises(UserError, match=r"trace\.json: the trace (is|has)"):
        list(read_events(plain(tmp_path, text)))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "trace.json"
    file.write_bytes(b'{"traceEvents": [{"name": "\xff\xfe"}]}')
    with pytest.raises(UserError, match="is no text"):
        list(read_events(file))


def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(chrome_trace, "MAX_BYTES", 1 << 20)
    file = tmp_path / "trace.json.gz"
    with gzip.open(file, "wt") as stream:
        stream.write('{"traceEvents": [' + '{"name": "a"},' * 500_000)
    with pytest.raises(UserError, match="larger than"):
        list(read_events(file))


def test_a_file_that_may_not_be_read_is_one_message(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        list(read_events(tmp_path / "nothing.json"))
