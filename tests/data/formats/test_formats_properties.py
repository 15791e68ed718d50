"""What holds for every row, whatever its format."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.data.canonical import canonical_bytes, id_of, row_id
from ft_assets.data.formats import RowError, normalize
from ft_assets.data.row_files import parse_row, row_line

text = st.text(max_size=12)
words = text.filter(str.strip)
flags = st.sampled_from([None, True, False, 0, 1])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
arguments = st.dictionaries(text, json_values, max_size=3)
calls = st.builds(
    lambda name, given, as_text, id_: {
        "id": id_,
        "function": {
            "name": name,
            "arguments": orjson.dumps(given).decode() if as_text else given,
        },
    },
    text,
    arguments,
    st.booleans(),
    st.none() | text,
)
turns = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "human", "gpt", "tool"]),
        "content": words | st.lists(words.map(lambda t: {"type": "text", "text": t}), max_size=2),
    },
    optional={"name": text, "train": flags, "weight": flags, "thinking": text},
) | st.fixed_dictionaries(
    {"role": st.just("assistant"), "tool_calls": st.lists(calls, max_size=2)},
    optional={"content": st.none() | text},
)
messages = st.lists(turns, min_size=1, max_size=5)
chats = st.fixed_dictionaries(
    {"messages": messages},
    optional={"unmask": flags, "tools": st.lists(arguments, max_size=2), "source": json_values}
    | {"system": text, "system_prompt": text},
)
instructions = st.fixed_dictionaries(
    {"instruction": words, "output": words}, optional={"input": text, "system": text}
)
segments = st.fixed_dictionaries(
    {
        "segments": st.lists(
            st.fixed_dictionaries({"label": st.booleans(), "text": text}), max_size=4
        )
    }
)
tokens = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), max_size=6).map(
    lambda pairs: {
        "input_ids": [token for token, _ in pairs],
        "labels": [token if trained else -100 for token, trained in pairs],
    }
)
rows = chats | instructions | segments | tokens | text.map(lambda value: {"text": value})


def normal(row):
    try:
        return normalize(row)
    except RowError:
        return None


@given(rows)
def test_normalising_a_written_row_gives_the_same_row(row):
    if (once := normal(row)) is not None:
        written = canonical_bytes(once)
        assert normalize(orjson.loads(written)) == once
        assert canonical_bytes(normalize(orjson.loads(written))) == written


@given(rows)
def test_a_row_is_read_back_from_its_line_as_it_was(row):
    if (once := normal(row)) is not None:
        written = canonical_bytes(once)
        stored = parse_row(row_line(id_of(written), written, group="g"), "here")
        assert (stored.row, stored.id, stored.group) == (once, row_id(once), "g")
        assert canonical_bytes(stored.row) == written


@given(rows, rows)
def test_two_rows_have_one_id_exactly_when_they_are_the_same(one, other):
    first, second = normal(one), normal(other)
    if first is not None and second is not None:
        assert (first == second) == (row_id(first) == row_id(second))


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_keys_says_nothing(row, random):
    keys = list(row)
    random.shuffle(keys)
    assert normal({key: row[key] for key in keys}) == normal(row)
