"""The second look at a split: it finds what the split has missed, by means of its own."""

import random

import pytest

from ft_assets.data import near_duplicates
from ft_assets.data.leak import find_leak
from ft_assets.data.near_duplicates import similarity
from tests.support.split_rows import TEXT, grams, line


@pytest.fixture
def look(tmp_path):
    def run(train, held_out, near=0.8, **options):
        (tmp_path / "train.jsonl").write_bytes(b"".join(train))
        (tmp_path / "held_out.jsonl").write_bytes(b"".join(held_out))
        report = find_leak(
            tmp_path / "train.jsonl",
            tmp_path / "held_out.jsonl",
            near_duplicates=near,
            rows=len(train),
            **options,
        )
        assert sorted(file.name for file in tmp_path.iterdir()) == ["held_out.jsonl", "train.jsonl"]
        return report.equal, report.near, report.compared

    return run


def test_sides_with_nothing_in_common(look):
    assert look([line(n) for n in range(50)], [line(n) for n in range(50, 70)]) == (0, 0, 50)


def test_every_equal_row_is_counted_however_many_rows_there_are(look):
    rows = [line(n) for n in range(2000)]
    assert look([*rows, *rows[:7]], rows[:7], near=0.0) == (14, 0, 0)


def test_a_near_row_is_found_though_the_index_of_the_split_finds_none(look, monkeypatch):
    """The split's own mistake must not be the check's: here its index proposes nothing."""
    monkeypatch.setattr(near_duplicates.MinHashIndex, "candidates", lambda *_: [])
    train = [line(n) for n in range(40)] + [line("please", f"{TEXT} 1")]
    assert look(train, [line("kindly", f"{TEXT} 2")]) == (0, 1, 41)


def test_of_many_rows_a_sample_from_everywhere_is_compared(look):
    train = [line(f"q{n}", f"{TEXT} {n}") for n in range(1000)]
    equal, near, compared = look(train, [line("kindly", f"{TEXT} x")], sample=100)
    assert equal == 0
    assert 60 <= compared == near <= 140
    rows = [line(n, f"{TEXT} {n}" if n >= 500 else None) for n in range(1000)]
    _, near, compared = look(rows, [line("kindly", f"{TEXT} x")], sample=100)
    assert 0.3 < near / compared < 0.7


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_it_finds_exactly_the_pairs_that_are_near(look, threshold):
    """Against the comparison of all with all."""
    rng = random.Random(5)

    def row() -> bytes:
        words = [f"w{n}" for n in range(14)]
        for _ in range(rng.randrange(6)):
            words[rng.randrange(14)] = f"x{rng.randrange(3)}"
        return line(" ".join(words[:4]), " ".join(words[4:]))

    train, held_out = [row() for _ in range(60)], [row() for _ in range(6)]
    near = sum(
        any(
            view in (theirs := grams(other)) and similarity(mine, theirs[view]) >= threshold
            for other in held_out
            for view, mine in grams(one).items()
        )
        for one in train
    )
    assert 0 < near <= 60
    assert look(train, held_out, near=threshold)[1:] == (near, 60)


def test_without_a_held_out_side_there_is_nothing_to_compare(look):
    assert look([line(1), line(2)], []) == (0, 0, 0)
