"""The split: what decides a row's side, what is dropped, and what is refused."""

import json

import pytest

from ft_assets.data.split import in_training, split
from resources.errors import UserError
from tests.support.split_rows import PLAIN, TEXT, divide, line, side


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
    sides: list[tuple[bytes, ...]] = []
    for seed in (1, 1, 2, -1):
        divide(tmp_path, lines, seed=seed)
        sides.append(tuple(side(tmp_path, "train")))
    assert sides[0] == sides[1]
    assert len(set(sides)) == 3


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
    assert "NO HELD-OUT SET" in report.warnings[0]


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


@pytest.mark.parametrize(
    "wrong",
    [b'{"messages": []}\n', b"\n", line(2).replace(b'{"id"', b'{"ID"'), line(2).upper(), b"x" * 99],
)
def test_rows_that_ft_assets_did_not_write_are_refused_with_their_place(tmp_path, wrong):
    with pytest.raises(UserError, match=r"rows.jsonl, row 2: not a row .* raw_dataset again"):
        divide(tmp_path, [line(1), wrong.rstrip(b"\n") + b"\n"])


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"rows.jsonl: the last line is cut short"):
        divide(tmp_path, [line(1), line(2)[:-20]])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such row file: materialize raw_dataset"):
        split(tmp_path / "rows.jsonl", tmp_path / "out", **PLAIN)


def test_lines_longer_than_a_block_and_many_blocks_are_written_as_they_are(tmp_path):
    lines = [line(n, f"{n} " * 300_000) for n in range(30)]  # 18 MB, some of 1.8 MB
    lines[7] = line("long", "x" * 9_000_000)
    divide(tmp_path, lines)
    assert sorted(side(tmp_path, "train") + side(tmp_path, "held_out")) == sorted(lines)


def test_duplicates_that_are_kept_are_together_on_one_side(tmp_path):
    lines = [line(n % 50) for n in range(150)]
    report = divide(tmp_path, lines, duplicates="keep")
    assert (report.duplicates, report.dropped) == (100, {})
    train, held_out = side(tmp_path, "train"), side(tmp_path, "held_out")
    assert sorted(train + held_out) == sorted(lines)
    assert not set(train) & set(held_out)


def test_of_kept_duplicates_a_subset_counts_distinct_rows(tmp_path):
    divide(tmp_path, [line(n % 50) for n in range(150)], duplicates="keep", subset=20)
    used = side(tmp_path, "train") + side(tmp_path, "held_out")
    assert (len(used), len(set(used))) == (60, 20)


def test_the_side_of_a_known_row_is_fixed():
    """Datasets that were divided before must be divided in the same way tomorrow."""
    ids = [f"{n:064x}" for n in range(12)]
    sides = "".join("t" if in_training(i, ratio=0.5, seed=42) else "h" for i in ids)
    assert sides == "hhtttththttt"
