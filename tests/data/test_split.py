"""The split: what decides a row's side, what is dropped, and that the numbers add up."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.messages import normalize
from ft_assets.data.near_duplicates import similarity, views
from ft_assets.data.row_files import row_line
from ft_assets.data.split import SplitReport, in_training, split
from resources.errors import UserError

PLAIN = {"ratio": 0.7, "seed": 3, "subset": 0, "near_duplicates": 0.0}


def line(question: object, answer: str | None = None) -> bytes:
    content = f"Answer to {question}" if answer is None else answer
    turns = [
        {"role": "user", "content": str(question)},
        {"role": "assistant", "content": content},
    ]
    chat = normalize({"messages": turns})
    return row_line(row_id(chat), canonical_bytes(chat))


def divide(folder: Path, lines: list[bytes], **options) -> SplitReport:
    (folder / "rows.jsonl").write_bytes(b"".join(lines))
    return split(folder / "rows.jsonl", folder / "out", **{**PLAIN, **options})


def side(folder: Path, name: str) -> list[bytes]:
    return (folder / f"out/{name}.jsonl").read_bytes().splitlines(keepends=True)


def test_rows_go_to_one_side_each_and_keep_their_order(tmp_path):
    lines = [line(n) for n in range(200)]
    report = divide(tmp_path, lines)
    train, held_out = side(tmp_path, "train"), side(tmp_path, "held_out")
    assert sorted(train + held_out) == sorted(lines)
    assert train == [x for x in lines if x in train]
    assert held_out == [x for x in lines if x in held_out]
    assert (report.train_rows, report.held_out_rows) == (len(train), len(held_out))
    assert report.ratio_actual == pytest.approx(0.7, abs=0.1)
    assert report.dropped == {}
    assert json.loads(report.model_dump_json()) == report.model_dump()


def test_equal_rows_are_dropped_and_never_on_both_sides(tmp_path):
    report = divide(tmp_path, [line(n % 50) for n in range(150)])
    assert (report.rows_in, report.duplicates) == (150, 100)
    assert report.dropped == {"exact_duplicate": 100}
    assert not set(side(tmp_path, "train")) & set(side(tmp_path, "held_out"))


def test_another_seed_divides_differently_and_the_same_seed_equally(tmp_path):
    lines = [line(n) for n in range(100)]
    digests = [divide(tmp_path, lines, seed=seed).train_digest for seed in (1, 1, 2, -1)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_larger_ratio_only_moves_rows_from_the_held_out_side_to_training(tmp_path):
    lines = [line(n) for n in range(200)]
    divide(tmp_path, lines, ratio=0.5)
    before = set(side(tmp_path, "train"))
    divide(tmp_path, lines, ratio=0.8)
    assert before < set(side(tmp_path, "train"))


def test_ratio_one_means_no_held_out_set(tmp_path):
    report = divide(tmp_path, [line(1), line(2)], ratio=1.0, near_duplicates=0.8)
    assert (report.train_rows, report.held_out_rows, report.ratio_actual) == (2, 0, 1.0)
    assert side(tmp_path, "held_out") == []


@pytest.mark.parametrize(("ratio", "empty"), [(0.999999, "held-out"), (0.000001, "training")])
def test_an_empty_side_is_refused_with_the_counts_and_nothing_is_left_behind(
    tmp_path, ratio, empty
):
    with pytest.raises(UserError, match=f"the {empty} side is empty .*training rows.*held out"):
        divide(tmp_path, [line(1), line(2)], ratio=ratio)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 0.0}, {"ratio": 1.1}, {"subset": -1}, {"near_duplicates": 1.5}],
)
def test_parameters_out_of_range_are_refused_by_name(tmp_path, wrong):
    ((key, value),) = wrong.items()
    name = {"ratio": "dataset.split"}.get(key, f"dataset.{key}")
    with pytest.raises(UserError, match=f"{name} {value}"):
        divide(tmp_path, [line(1)], **wrong)


def test_a_subset_has_exactly_the_rows_asked_for_and_is_drawn_from_everywhere(tmp_path):
    lines = [line(n % 400) for n in range(500)]
    report = divide(tmp_path, lines, subset=100)
    assert report.train_rows + report.held_out_rows == 100
    assert report.dropped == {"exact_duplicate": 100, "not_in_subset": 300}
    places = [lines.index(x) for x in side(tmp_path, "train") + side(tmp_path, "held_out")]
    assert 25 <= sum(place < 200 for place in places) <= 75


def test_a_subset_of_more_rows_than_there_are_takes_all_and_says_so(tmp_path):
    report = divide(tmp_path, [line(n) for n in range(50)], subset=60)
    assert report.train_rows + report.held_out_rows == 50
    assert report.warnings == ["dataset.subset 60 is more than the 50 distinct rows: all are used"]


TEXT = "return the lowest index in the text where the given part of it is found number"


def test_training_rows_near_to_a_held_out_row_are_dropped_counted_and_listed(tmp_path):
    lines = [line(f"question {n}", f"{TEXT} {n}") for n in range(40)]
    lines += [line(f"different {n}", f"entirely unlike {n} " * 5) for n in range(40)]
    report = divide(tmp_path, lines, near_duplicates=0.8)
    listed = [json.loads(x) for x in side(tmp_path, "near_duplicates")]
    assert len(listed) == report.dropped["near_duplicate_of_held_out"] > 10
    held_out = {json.loads(x)["id"] for x in side(tmp_path, "held_out")}
    kept = {json.loads(x)["id"] for x in side(tmp_path, "train")}
    assert {pair["held_out_id"] for pair in listed} <= held_out
    assert not {pair["train_id"] for pair in listed} & kept
    assert all(0.8 <= pair["similarity"] <= 1 for pair in listed)
    assert "nearly equal a held-out row" in report.warnings[0]


def test_zero_switches_the_search_off(tmp_path):
    lines = [line(f"question {n}", f"{TEXT} {n}") for n in range(40)]
    report = divide(tmp_path, lines, near_duplicates=0.0)
    assert report.train_rows + report.held_out_rows == 40
    assert side(tmp_path, "near_duplicates") == []


def test_a_training_side_that_nearness_empties_is_refused(tmp_path):
    lines = [line(f"question {n}", f"{TEXT} {n}") for n in range(40)]
    with pytest.raises(UserError, match="the training side is empty"):
        divide(tmp_path, lines, near_duplicates=0.5)


def test_rows_that_ft_assets_did_not_write_are_refused_with_their_place(tmp_path):
    with pytest.raises(UserError, match=r"rows.jsonl, row 2: not a row that ft-assets wrote"):
        divide(tmp_path, [line(1), b'{"messages": []}\n'])


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
        grams = [dict(views(json.loads(x)["messages"])) for x in held_out]
        for mine in (dict(views(json.loads(x)["messages"])) for x in train):
            common = ((mine[v], other[v]) for other in grams for v in mine if v in other)
            assert all(similarity(*both) < threshold for both in common)


def test_the_side_of_a_known_row_is_fixed():
    """Datasets that were divided before must be divided in the same way tomorrow."""
    ids = [f"{n:064x}" for n in range(12)]
    sides = "".join("t" if in_training(i, ratio=0.5, seed=42) else "h" for i in ids)
    assert sides == "hhtttththttt"
