"""The short way for plain chats gives what the general way gives, or leaves the row to it."""

import io
import json
import tempfile
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.fast_rows import (
    Looked,
    PlainChat,
    lines_looked_at,
    looked_at,
    plain_bytes,
    row_looked_at,
)
from ft_assets.data.formats import RowError, RowFormat, normalize
from ft_assets.data.ingest import DROPPED_FILE, ROWS_FILE, ingest
from resources.errors import UserError

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}


def line(*turns, **keys) -> bytes:
    return json.dumps({"messages": list(turns), **keys}).encode() + b"\n"


def plain_line(raw: bytes) -> PlainChat | None:
    looked = looked_at(raw)
    return looked and looked.chats[0]


def plain_row(row: dict) -> PlainChat | None:
    looked = row_looked_at(row)
    return looked and looked.chats[0]


def general(raw: bytes) -> bytes | None:
    """What the general way writes, None for a row that it refuses."""
    try:
        return canonical_bytes(normalize(orjson.loads(raw)))
    except (RowError, orjson.JSONDecodeError, AttributeError):
        return None


text = st.text(max_size=10) | st.sampled_from(
    ["", " \n", "\x00", "a\x00", "\u2028", "\ud7ff", "\U0001f600", "\x1c", "\u3000", "é", "\x85"]
)
roles = st.sampled_from(
    ["system", "user", "assistant", "tool", "human", "gpt", "function", "x", "", None, 3]
)
plain_turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": text}
)
other_turns = st.fixed_dictionaries(
    {"role": roles},
    optional={
        "content": text | st.none() | st.integers() | st.just([{"type": "text", "text": "a"}]),
        "name": st.none() | text,
        "train": st.sampled_from([None, True, False, 0, 1, "x"]),
        "weight": st.sampled_from([None, 0, 1]),
        "tool_calls": st.sampled_from([None, [], [{"name": "f"}]]),
        "from": st.just("human"),
        "value": text,
    },
)
values = st.none() | st.booleans() | st.integers() | text | st.lists(st.integers(0, 9), max_size=2)
keys = st.fixed_dictionaries(
    {},
    optional={
        "id": values,
        "tools": values | st.just([{"name": "f"}]),
        "unmask": values,
        "conversations": values | st.lists(plain_turns, max_size=2),
        "input_ids": values,
        "labels": values,
        "segments": values | st.just([{"label": True, "text": "a"}]),
        "text": values,
        "instruction": values,
        "output": values,
        "system": values,
        "system_prompt": values,
    },
)
turns = st.lists(plain_turns, max_size=4) | st.lists(plain_turns | other_turns, max_size=4)
rows = st.builds(lambda found, beside: {"messages": found, **beside}, turns | values, keys)
raw_lines = rows.map(lambda row: json.dumps(row).encode()) | rows.map(
    lambda row: json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
)
damaged_lines = st.builds(
    lambda raw, place, junk: raw[: place % len(raw)] + junk + raw[place % len(raw) + 1 :],
    raw_lines,
    st.integers(0, 10_000),
    st.binary(max_size=3) | st.sampled_from([b"\\u0000", b"\\ud800", b"\r", b",", b'"']),
)


@given(raw_lines | damaged_lines)
def test_what_the_short_way_accepts_the_general_way_writes_in_the_same_bytes(raw):
    if (chat := plain_line(raw)) is not None:
        assert plain_bytes(chat) == general(raw)


@given(rows)
def test_so_it_is_with_rows_that_are_parsed_already(row):
    if (chat := plain_row(row)) is not None:
        assert plain_bytes(chat) == canonical_bytes(normalize(row))


@given(st.lists(plain_turns, max_size=4))
def test_every_valid_plain_chat_takes_the_short_way(found):
    raw = line(*found)
    written = general(raw)
    chat, parsed = plain_line(raw), plain_row(orjson.loads(raw))
    assert (chat is not None) == (parsed is not None) == (written is not None)
    if chat is not None:
        assert plain_bytes(chat) == plain_bytes(parsed) == written


chats = st.lists(plain_turns, max_size=3).map(lambda found: {"messages": found})
written_chats = st.builds(json.dumps, chats, indent=st.sampled_from([None, None, None, 1]))
between = st.sampled_from(["\n", "\n", "\n", "\n", "\r\n", "\n\n", "\n ", " \n", " ", "", ","])
blocks = st.lists(st.tuples(written_chats, between), min_size=1, max_size=5).map(
    lambda found: "".join(chat + end for chat, end in found).encode()
)


def together(each: list[Looked]) -> Looked:
    """What was found in each line, as one."""
    chats = [chat for looked in each for chat in looked.chats]
    patterns = Counter(pattern for looked in each for pattern in looked.patterns)
    return Looked(chats, patterns, sum(looked.characters for looked in each))


@given(blocks | st.lists(raw_lines | damaged_lines, max_size=3).map(b"\n".join))
def test_many_lines_at_once_come_to_what_each_line_comes_to(block):
    if (found := lines_looked_at(block)) is not None:
        assert found == together([looked_at(one) for one in io.BytesIO(block)])


@given(st.lists(chats, max_size=5))
def test_lines_of_valid_plain_chats_are_looked_at_at_once(found):
    lines = [line(*chat["messages"]) for chat in found]
    each = [looked_at(one) for one in lines]
    assert lines_looked_at(b"".join(lines)) == (None if None in each else together(each))


ROW = line(USER, ANSWER)
TURN = json.dumps(ANSWER).encode()
TWO = ROW.strip() + ROW


@pytest.mark.parametrize(
    "block",
    [
        ROW + ROW.strip(),
        ROW + b"\n",
        b"\n",
        TWO,
        # As many values as lines, but not one on each: only what stands around newlines tells.
        ROW.replace(b": [", b":\n[") + TWO,
        b'{"messages":[%b\n,%b]}\n' % (TURN, TURN) + TWO,
        b'{"messages":[%b,\n%b]}\n' % (TURN, TURN) + TWO,
    ],
    ids=[
        "no newline at the end",
        "an empty line",
        "nothing else",
        "two on a line",
        "a newline in a value",
        "a newline behind a turn",
        "a newline before a turn",
    ],
)
def test_what_only_a_reader_of_lines_can_judge_is_left_to_it(block):
    assert lines_looked_at(block) is None


# Says nothing that the defaults do not say, but sends every row the general way.
GENERAL = RowFormat(roles={"user": []})


def ingested(path: Path, out: Path, options: RowFormat) -> tuple[object, ...]:
    """All that an ingest leaves behind: its report and both files, or its error."""
    try:
        report = ingest(
            [("x.jsonl", path)], out, options=options, on_bad_rows="drop", max_bad_rows=None
        )
    except UserError as error:
        return (str(error),)
    return report, (out / ROWS_FILE).read_bytes(), (out / DROPPED_FILE).read_bytes()


@settings(max_examples=50)
@given(st.lists(raw_lines | damaged_lines | st.lists(plain_turns).map(lambda t: line(*t))))
def test_a_whole_file_gives_the_same_lines_ids_verdicts_and_report_either_way(found):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_bytes(
            b"".join(raw.rstrip(b"\n") + b"\n" for raw in [line(USER, ANSWER), *found])
        )
        short = ingested(path, Path(folder) / "short", RowFormat())
        general = ingested(path, Path(folder) / "general", GENERAL)
        assert short == general


def test_the_id_is_that_of_the_row():
    raw = line(USER, ANSWER)
    chat = plain_line(raw)
    assert canonical_bytes(normalize(orjson.loads(raw))) == plain_bytes(chat)
    assert row_id(normalize(orjson.loads(raw))) == row_id(chat)


def test_metadata_of_the_row_is_left_out():
    assert plain_line(line(USER, ANSWER, id=7)) is None  # parsed first, then:
    row = {"messages": [USER, ANSWER], "id": 7, "source": None}
    assert plain_bytes(plain_row(row)) == plain_bytes(plain_line(line(USER, ANSWER)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"[]",
        b"{}",
        b'{"messages": null}',
        line(),
        line(USER),
        line(USER, {**ANSWER, "content": ""}),
        line(USER, {**ANSWER, "content": "a\x00"}),
        line(USER, {**ANSWER, "name": "x"}),
        line(USER, {"role": "system", "content": "x"}, ANSWER),
        line(USER, ANSWER, tools=[]),
        line(USER, ANSWER, unmask=True),
        line(USER, ANSWER, conversations=None),
        line(USER, ANSWER, input_ids=[1]),
        line(USER, ANSWER, system="Be brief"),
        line(USER, ANSWER, system_prompt="Be brief"),
        line(USER, ANSWER)[:-2],
        line(USER, ANSWER)[:-1] + b"x\n",
        line(USER, ANSWER).replace(b"Hello", b"\xff"),
        line(USER, ANSWER).replace(b"Hello", b"\\ud800"),
    ],
)
def test_whatever_is_not_plainly_valid_is_left_to_the_general_way(raw):
    assert plain_line(raw) is None
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    assert not isinstance(row, dict) or plain_row(row) is None
