"""Near duplicates: what is near, and that the index misses none of it."""

import io
import random

import pytest

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import normalize
from ft_assets.data.near_duplicates import HeldOutIndex, shingles, similarity, views
from ft_assets.data.row_files import StoredRow, parse_row, row_line

LONG = "Return the lowest index in the text where the given part of it is found"


def stored(question: str, answer: str, system: str | None = None) -> StoredRow:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if system:
        turns.insert(0, {"role": "system", "content": system})
    chat = normalize({"messages": turns})
    return parse_row(row_line(row_id(chat), canonical_bytes(chat)), "a row")


def index(held_out: list[StoredRow], threshold: float = 0.8) -> HeldOutIndex:
    return HeldOutIndex(io.BytesIO(b"".join(row.line for row in held_out)), threshold)


def test_case_and_punctuation_do_not_make_a_difference():
    assert (
        shingles("The cat, sat down!")
        == shingles("the CAT sat\ndown")
        == {
            "the cat sat",
            "cat sat down",
        }
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Yes, indeed", {"yes", "indeed"}), ("?!", {"?", "!"}), ("", set()), (" \n", set())],
)
def test_short_texts_are_their_words_or_their_characters(text, expected):
    assert shingles(text) == expected


def test_scripts_without_spaces_are_compared_by_character():
    assert similarity(shingles("今天天气很好我们去公园"), shingles("今天天气很好我们去学校")) > 0.5


def test_words_end_at_the_same_characters_in_plain_ascii_and_in_other_text():
    """Plain ASCII is taken apart in a faster way."""
    for separator in map(chr, range(128)):
        expected = {gram for gram in shingles(f"a{separator}b c d e é") if "é" not in gram}
        assert shingles(f"a{separator}b c d e") == expected, repr(separator)


def test_the_similarity_of_nothing_is_zero():
    assert similarity(frozenset(), frozenset()) == 0


def test_a_near_conversation_is_found_with_its_exact_similarity():
    held_out = stored("Where is it?", LONG)
    other = stored("Something else entirely", "Nothing that has to do with any other of the rows")
    row = stored("Where is it?", LONG + " indeed")
    near = index([other, held_out]).nearest(row)
    assert (near.held_out_id, near.view) == (held_out.id, "conversation")
    assert near.similarity == pytest.approx(16 / 17)
    assert index([other]).nearest(row) is None


def test_the_same_long_answer_to_another_question_is_near():
    held_out = stored("Where is it?", LONG)
    row = stored("Please tell me now what the method find of strings does for its callers", LONG)
    near = index([held_out]).nearest(row)
    assert (near.view, near.similarity) == ("answer", 1.0)


def test_the_same_short_answer_to_another_question_is_not_near():
    held_out = stored("Is the sky blue today?", "Yes, it is.")
    assert index([held_out]).nearest(stored("Can pigs swim in the sea?", "Yes, it is.")) is None


def test_a_long_system_prompt_that_all_rows_share_makes_no_row_near():
    system = LONG * 20
    held_out = stored("Is the sky blue today?", "Yes, it is.", system)
    row = stored("Can pigs swim in the sea?", "No, they can not.", system)
    assert index([held_out]).nearest(row) is None


@pytest.mark.parametrize(
    "row",
    [
        {"text": LONG},
        {"segments": [{"label": False, "text": "Q: "}, {"label": True, "text": LONG}]},
        {"input_ids": list(range(40)), "labels": [-100] * 20 + list(range(20, 40))},
        {"instruction": "Explain", "output": LONG},
    ],
)
def test_rows_of_every_shape_are_compared(row):
    shape = normalize(row)
    held_out = parse_row(row_line(row_id(shape), canonical_bytes(shape)), "a row")
    assert index([stored("Q", "A"), held_out]).nearest(held_out).similarity == 1


def test_the_same_labels_after_other_tokens_are_near_as_an_answer():
    def tokens(first: int) -> StoredRow:
        prompt, answer = list(range(first, first + 30)), list(range(9000, 9020))
        shape = normalize({"input_ids": prompt + answer, "labels": [-100] * 30 + answer})
        return parse_row(row_line(row_id(shape), canonical_bytes(shape)), "a row")

    near = index([tokens(100)]).nearest(tokens(500))
    assert (near.view, near.similarity) == ("answer", 1.0)


def planted(seed: int) -> tuple[list[StoredRow], list[StoredRow]]:
    """Held-out rows of random words, and training rows that repeat them with some words changed."""
    rng = random.Random(seed)
    words = [f"w{n}" for n in range(500)]
    held_out = [rng.choices(words, k=rng.randint(15, 80)) for _ in range(60)]
    train = []
    for text in held_out * 4:
        changed = list(text)
        for _ in range(rng.randint(0, len(text) // 8)):
            changed[rng.randrange(len(changed))] = rng.choice(words)
        train.append(changed)
    return (
        [stored("Q", " ".join(text)) for text in held_out],
        [stored("Q", " ".join(text)) for text in train],
    )


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_the_index_finds_what_comparing_every_pair_finds(threshold):
    held_out, train = planted(seed=7)
    grams = [dict(views(row.row)) for row in held_out]

    def brute_force(row: StoredRow) -> bool:
        mine = dict(views(row.row))
        return any(similarity(mine[v], other[v]) >= threshold for other in grams for v in mine)

    expected = {n for n, row in enumerate(train) if brute_force(row)}
    searched = index(held_out, threshold)
    found = {n for n, row in enumerate(train) if searched.nearest(row)}
    assert len(expected) >= 20
    assert found <= expected, "every found pair is confirmed exactly"
    assert len(found) >= 0.99 * len(expected)
