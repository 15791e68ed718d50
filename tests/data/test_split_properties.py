"""What holds for every split, whatever the rows."""

import itertools
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ft_assets.data.near_duplicates import similarity
from ft_assets.data.split import split
from resources.errors import UserError
from tests.support.split_rows import PLAIN, TEXT, divide, grams, ids, line, side

questions = st.lists(st.integers(0, 10_000), min_size=30, max_size=60, unique=True)


@settings(max_examples=20, deadline=None)
@given(questions, st.randoms(use_true_random=False), st.integers())
def test_the_side_of_a_row_does_not_depend_on_the_order_of_the_rows(numbers, rng, seed):
    shuffled = rng.sample(numbers, len(numbers))
    sides = []
    for order in (numbers, shuffled):
        with tempfile.TemporaryDirectory() as folder:
            divide(Path(folder), [line(n) for n in order], seed=seed, ratio=0.5)
            sides.append((set(side(Path(folder), "train")), set(side(Path(folder), "held_out"))))
    assert sides[0] == sides[1]


@settings(max_examples=20, deadline=None)
@given(questions, questions)
def test_a_row_never_changes_its_side_when_the_dataset_grows(numbers, more):
    sides = []
    for rows in (numbers, numbers + more):
        with tempfile.TemporaryDirectory() as folder:
            divide(Path(folder), [line(n) for n in rows], ratio=0.5)
            sides.append((set(side(Path(folder), "train")), set(side(Path(folder), "held_out"))))
    (train, held_out), (later_train, later_held_out) = sides
    assert train <= later_train
    assert held_out <= later_held_out


words = st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=12).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(words, words), min_size=20, max_size=40),
    st.sampled_from([0.0, 0.5, 0.8]),
    st.integers(0, 30),
)
def test_the_counts_add_up_and_no_near_pair_is_left_across_the_sides(pairs, threshold, subset):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [line(question, answer) for question, answer in pairs]
        try:
            report = divide(folder, lines, ratio=0.5, subset=subset, near_duplicates=threshold)
        except UserError:
            assume(False)
        train, held_out = side(folder, "train"), side(folder, "held_out")
    assert report.rows_in == len(lines)
    assert report.rows_in == len(train) + len(held_out) + sum(report.dropped.values())
    assert (report.train_rows, report.held_out_rows) == (len(train), len(held_out))
    if threshold:
        theirs = [grams(x) for x in held_out]
        for mine in map(grams, train):
            common = ((mine[v], other[v]) for other in theirs for v in mine if v in other)
            assert all(similarity(*both) < threshold for both in common)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(words, words), min_size=20, max_size=40),
    st.sampled_from([0.4, 0.6, 0.8]),
)
def test_no_two_near_rows_are_left_in_training_where_they_are_dropped(pairs, threshold):
    lines = [line(question, answer) for question, answer in pairs]
    with tempfile.TemporaryDirectory() as name:
        divide(Path(name), lines, ratio=1.0, near_duplicates=threshold, near_in_training="drop")
        kept = [grams(x)["conversation"] for x in side(Path(name), "train")]
        dropped = [json.loads(x) for x in side(Path(name), "clusters")]
    assert all(similarity(*both) < threshold for both in itertools.combinations(kept, 2))
    by_id = {json.loads(x)["id"]: grams(x)["conversation"] for x in lines}
    for member in dropped:
        exact = similarity(by_id[member["first_id"]], by_id[member["id"]])
        assert exact == pytest.approx(member["similarity"], abs=1e-4)
        assert exact >= threshold


grouped_rows = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=30, max_size=80)
choices = st.fixed_dictionaries(
    {
        "duplicates": st.sampled_from(["drop", "keep"]),
        "grouped": st.booleans(),
        "subset": st.sampled_from([0, 10, 1000]),
        "seed": st.integers(0, 50),
    }
)


@settings(max_examples=30, deadline=None)
@given(grouped_rows, choices, st.randoms(use_true_random=False))
def test_neither_equal_rows_nor_groups_are_ever_on_both_sides(rows, chosen, rng):
    sides = []
    for order in (rows, rng.sample(rows, len(rows))):
        lines = [line(n, group=f"g{group}", stratum=f"s{n % 2}") for n, group in order]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                report = divide(folder, lines, ratio=0.5, stratified=True, **chosen)
            except UserError:
                assume(False)
            train, held_out = side(folder, "train"), side(folder, "held_out")
        assert not set(ids(train)) & set(ids(held_out))
        if chosen["grouped"]:
            groups = [{json.loads(x)["group"] for x in lines} for lines in (train, held_out)]
            assert not groups[0] & groups[1]
            assert report.groups == len(groups[0] | groups[1])
        if chosen["duplicates"] == "drop":
            assert len(set(ids(train + held_out))) == len(train + held_out)
        assert report.rows_in == len(rows)
        assert report.rows_in == len(train + held_out) + sum(report.dropped.values())
        assert (report.train_rows, report.held_out_rows) == (len(train), len(held_out))
        assert sum(count.train_rows for count in report.strata) == len(train)
        assert sum(count.held_out_rows for count in report.strata) == len(held_out)
        distinct = len({n for n, _ in rows})
        assert len(set(ids(train + held_out))) == (min(chosen["subset"], distinct) or distinct)
        sides.append((sorted(set(ids(train))), sorted(set(ids(held_out)))))
    assert sides[0] == sides[1]


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_ratio_is_met_within_the_binomial_error(tmp_path, ratio, grouped):
    lines = [line(n, group=f"{n}") for n in range(4000)]
    report = divide(tmp_path, lines, ratio=ratio, grouped=grouped)
    assert abs(report.train_rows - 4000 * ratio) < 5 * (4000 * ratio * (1 - ratio)) ** 0.5


drops = st.lists(
    st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.sampled_from("abcdef")), max_size=25),
    min_size=2,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(drops, st.booleans(), st.sampled_from(["drop", "keep"]), st.integers(0, 3))
def test_no_row_that_was_held_out_with_fewer_drops_is_trained_on_with_more(
    arrivals, grouped, duplicates, seed
):
    """Rows come again in later drops, as they were, nearly so, and in other groups."""
    held_out, trained = set[str](), set[str]()
    for count in range(1, len(arrivals) + 1):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = [
                written(folder / f"drop-{number}.jsonl", rows, grouped=grouped)
                for number, rows in enumerate(arrivals[:count])
            ]
            options = {"grouped": grouped, "duplicates": duplicates, "near_duplicates": 0.6}
            try:
                report = split(files, folder / "out", **{**PLAIN, **options, "seed": seed})
            except UserError:
                continue  # a side is empty so far
            train, held = ids(side(folder, "train")), ids(side(folder, "held_out"))
            assert not held_out & set(train)
            if not grouped:  # a row of two groups may be held out later, never the other way round
                assert not trained & set(held)
            assert report.rows_in == sum(len(rows) for rows in arrivals[:count])
            held_out |= set(held)
            trained |= set(train)


def written(file: Path, rows, *, grouped: bool) -> Path:
    """A drop: every number has a question of its own, which another answer makes nearly equal."""
    file.write_bytes(
        b"".join(
            line(f"{TEXT} {n}", answer="near" if near else None, group=g if grouped else None)
            for n, near, g in rows
        )
    )
    return file


def test_several_drops_are_divided_as_one_file_of_their_rows(tmp_path):
    first, second = ([line(n) for n in rows] for rows in (range(30), range(20, 60)))
    together = divide(tmp_path, first + second)
    for name, lines in (("a", first), ("b", second)):
        (tmp_path / name).write_bytes(b"".join(lines))
    apart = split([tmp_path / "a", tmp_path / "b"], tmp_path / "apart", **PLAIN)
    assert apart == together
