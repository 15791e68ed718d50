"""What keeps the sides apart: groups, strata, held-out sets of the user's own, clusters."""

import itertools
import json
from pathlib import Path

import pytest

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import normalize
from ft_assets.data.row_files import row_line
from ft_assets.data.split import SplitReport, in_training
from ft_assets.data.split_report import after_contamination
from resources.errors import UserError
from tests.support.split_rows import TEXT, divide, ids, line, side

# Groups


def test_rows_of_one_group_are_on_one_side(tmp_path):
    lines = [line(n, group=f"user {n % 40}") for n in range(200)]
    report = divide(tmp_path, lines, grouped=True)
    groups = [{json.loads(x)["group"] for x in side(tmp_path, s)} for s in ("train", "held_out")]
    assert not groups[0] & groups[1]
    assert report.groups == 40
    assert report.ratio_actual == pytest.approx(0.7, abs=0.25)


def test_a_row_that_is_in_groups_of_both_sides_is_held_out(tmp_path):
    groups = [f"g{n}" for n in range(20)]
    alone = [line(f"{group} alone", group=group) for group in groups]
    shared = [line("shared", group=group) for group in groups]
    for kind, order in itertools.product(["drop", "keep"], [1, -1]):
        lines = [*alone, *shared[::order]]
        report = divide(tmp_path, lines, grouped=True, duplicates=kind)
        train, held_out = side(tmp_path, "train"), side(tmp_path, "held_out")
        assert not set(ids(train)) & set(ids(held_out))
        assert any(b"shared" in x for x in held_out)
        assert report.dropped["equals_held_out"] > 5
        assert report.rows_in == 40


@pytest.mark.parametrize(
    "option", [{"grouped": True, "key": "group"}, {"stratified": True, "key": "stratum"}]
)
def test_rows_without_the_group_or_stratum_that_is_asked_for_are_refused(tmp_path, option):
    key = option.pop("key")
    lines = [line(1, **{key: "a"}), line(2)]
    with pytest.raises(UserError, match=f"row 2: the row has no {key}.*raw_dataset again"):
        divide(tmp_path, lines, **option)


def test_only_the_rows_own_group_counts_whatever_the_row_says(tmp_path):
    misleading = [
        'x","group":"from the text","stratum":"from the text"}',
        '","group":"',
        "\\",
        "😀",
    ]
    lines = [line(f"{text}{n}", group=text) for n in range(5) for text in misleading]
    call = {"name": "f", "arguments": {"a": 1, "group": "from the call"}}
    turns = [
        {"role": "user", "content": "Q"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": call}],
        },
    ]
    chat = normalize({"messages": turns})
    for group in (None, "a"):
        row = row_line(row_id(chat), canonical_bytes(chat), group=group)
        if group:
            assert divide(tmp_path, [*lines, row], grouped=True, ratio=0.5).groups == 5
        else:
            with pytest.raises(UserError, match="row 21: the row has no group"):
                divide(tmp_path, [*lines, row], grouped=True)
    strata = divide(
        tmp_path,
        [
            *(line(n, stratum="a") for n in range(20)),
            row_line(row_id(chat), canonical_bytes(chat), stratum="b"),
        ],
        stratified=True,
    ).strata
    assert [count.name for count in strata] == ["a", "b"]


def test_too_few_groups_for_the_ratio_are_said(tmp_path):
    lines = [line(n, group="most" if n < 180 else f"g{n}") for n in range(200)]
    report = divide(tmp_path, lines, grouped=True, ratio=0.5)
    assert "too few or too uneven" in report.warnings[0]


# Strata


def test_every_stratum_is_divided_by_the_ratio_and_counted(tmp_path):
    lines = [line(n, stratum=["code", "chat"][n % 3 == 0]) for n in range(3000)]
    report = divide(tmp_path, lines, stratified=True)
    assert [count.name for count in report.strata] == ["code", "chat"]
    assert [c.train_rows + c.held_out_rows for c in report.strata] == [2000, 1000]
    for count in report.strata:
        rows = count.train_rows + count.held_out_rows
        assert abs(count.train_rows - 0.7 * rows) < 5 * (rows * 0.7 * 0.3) ** 0.5
    train = [json.loads(x)["stratum"] for x in side(tmp_path, "train")]
    assert [c.train_rows for c in report.strata] == [train.count("code"), train.count("chat")]


def test_a_stratum_without_held_out_rows_is_named(tmp_path):
    lines = [line(n, stratum="big") for n in range(100)]
    alone = next(n for n in range(100, 200) if in_training(ids([line(n)])[0], ratio=0.7, seed=3))
    report = divide(tmp_path, [*lines, line(alone, stratum="small")], stratified=True)
    assert "1 strata have no held-out row and are not measured: 'small'" in report.warnings[0]


def test_of_very_many_strata_fifty_are_named_and_the_rest_counted_together(tmp_path):
    lines = [line(n, stratum=f"s{n % 200}") for n in range(800)]
    report = divide(tmp_path, lines, stratified=True)
    assert len(report.strata) == 51
    assert report.strata[-1].name is None
    assert sum(count.train_rows for count in report.strata) == report.train_rows
    assert sum(count.held_out_rows for count in report.strata) == report.held_out_rows


def without(folder: Path, report: SplitReport, stratum: str) -> SplitReport:
    """The report after all training rows of a stratum were left out as contaminated."""
    train = folder / "out/train.jsonl"
    kept = [row for row in side(folder, "train") if json.loads(row)["stratum"] != stratum]
    train.write_bytes(b"".join(kept))
    held_out = folder / "out/held_out.jsonl"
    return after_contamination(report, train, held_out, rows=len(kept))


def test_strata_are_those_of_the_final_files(tmp_path):
    """Contaminated rows are left out after the split: its counts and warnings follow."""
    lines = [line(n, stratum="big") for n in range(100)]
    alone = [n for n in range(100, 200) if in_training(ids([line(n)])[0], ratio=0.7, seed=3)]
    lines += [line(alone[0], stratum="small"), line(alone[1], stratum="tiny")]
    before = divide(tmp_path, lines, stratified=True, subset=500)
    assert len(before.warnings) == 2
    after = without(tmp_path, before, "small")
    counts = {count.name: (count.train_rows, count.held_out_rows) for count in after.strata}
    assert counts == {
        "big": (before.train_rows - 2, before.held_out_rows),
        "tiny": (1, 0),
    }
    assert after.dropped["contaminated"] == 1
    assert after.train_rows + after.held_out_rows + sum(after.dropped.values()) == after.rows_in
    assert (len(after.warnings), after.warnings[0]) == (2, before.warnings[0])
    assert "1 strata have no held-out row and are not measured: 'tiny'" in after.warnings[1]
    assert without(tmp_path, after, "tiny").warnings == before.warnings[:1]


def test_of_the_users_held_out_set_nothing_is_said_about_strata_that_it_lacks(tmp_path):
    lines = [line(n, stratum="ab"[n % 2]) for n in range(40)]
    evals = own_held_out(tmp_path, [line(99, stratum="a"), line(98)])
    report = without(tmp_path, divide(tmp_path, lines, stratified=True, eval_rows=evals), "b")
    assert {count.name: count.train_rows for count in report.strata} == {"a": 20, "(none)": 0}
    assert report.warnings == []


# A held-out set of the user's own


def own_held_out(folder: Path, lines: list[bytes]) -> Path:
    (folder / "eval.jsonl").write_bytes(b"".join(lines))
    return folder / "eval.jsonl"


def test_the_users_held_out_set_is_all_that_is_held_out(tmp_path):
    held_out = [line(n, f"{TEXT} {n}") for n in range(10)]
    near = [line(f"please {n}", f"{TEXT} {n}") for n in range(5)]
    other = [line(n) for n in range(100, 150)]
    report = divide(
        tmp_path,
        [*held_out[:4], *near, *other],
        eval_rows=own_held_out(tmp_path, held_out * 2),
        near_duplicates=0.8,
    )
    assert side(tmp_path, "held_out") == held_out
    assert side(tmp_path, "train") == other
    assert report.dropped == {
        "equals_held_out": 4,
        "near_duplicate_of_held_out": 5,
        "exact_duplicate_held_out": 10,
    }
    assert (report.rows_in, report.train_rows, report.held_out_rows) == (79, 50, 10)
    assert report.warnings == []


def test_with_the_users_held_out_set_a_subset_is_drawn_from_the_other_rows(tmp_path):
    lines = [line(n) for n in range(100)]
    evals = own_held_out(tmp_path, lines[:50])
    report = divide(tmp_path, lines, eval_rows=evals, subset=30, ratio=1.0)
    assert (report.train_rows, report.held_out_rows) == (30, 50)
    assert report.dropped == {"equals_held_out": 50, "not_in_subset": 20}


def test_duplicates_that_are_kept_are_kept_in_the_users_held_out_set_too(tmp_path):
    twice = [line(n) for n in range(5)] * 2
    lines = [line(n) for n in range(50)] * 2
    report = divide(tmp_path, lines, eval_rows=own_held_out(tmp_path, twice), duplicates="keep")
    assert side(tmp_path, "held_out") == twice
    assert (report.held_out_rows, report.train_rows, report.duplicates) == (10, 90, 50)
    assert report.dropped == {"equals_held_out": 10}


def test_groups_of_the_users_held_out_set_are_not_trained_on(tmp_path):
    evals = own_held_out(tmp_path, [line("a", group="g1"), line("b", group="g2"), line("c")])
    lines = [line(n, group=f"g{n % 5}") for n in range(50)]
    report = divide(tmp_path, lines, eval_rows=evals, grouped=True, subset=10)
    assert {json.loads(x)["group"] for x in side(tmp_path, "train")} <= {"g0", "g3", "g4"}
    assert report.dropped == {"group_of_held_out": 20, "not_in_subset": 20}
    assert (report.train_rows, report.held_out_rows, report.groups) == (10, 3, 5)


@pytest.mark.parametrize(("evals", "empty"), [(0, "held-out"), (20, "training")])
def test_a_held_out_set_that_leaves_a_side_empty_is_refused(tmp_path, evals, empty):
    lines = [line(n) for n in range(20)]
    with pytest.raises(UserError, match=f"the {empty} side is empty .dataset.eval_uri"):
        divide(tmp_path, lines, eval_rows=own_held_out(tmp_path, lines[:evals]))


# Near duplicates in the training side


def test_of_training_rows_that_are_near_to_each_other_the_first_is_kept(tmp_path):
    texts = [" ".join(f"w{word}of{n}" for word in range(20)) for n in range(10)]
    lines = [line(texts[n // 4], str(n)) for n in range(40)]
    options = {"ratio": 1.0, "near_duplicates": 0.6}
    assert divide(tmp_path, lines, **options).train_rows == 40
    report = divide(tmp_path, lines, **options, near_in_training="drop")
    assert side(tmp_path, "train") == lines[::4]
    assert (report.near_clusters, report.dropped) == (10, {"near_duplicate_in_training": 30})
    members = [json.loads(x) for x in side(tmp_path, "clusters")]
    assert [member["cluster"] for member in members] == [n // 3 + 1 for n in range(30)]
    assert [member["id"] for member in members] == [
        id_ for n, id_ in enumerate(ids(lines)) if n % 4
    ]
    assert {member["first_id"] for member in members} == set(ids(lines[::4]))
    assert all(0.6 <= member["similarity"] <= 1 for member in members)


def test_clusters_need_a_threshold(tmp_path):
    with pytest.raises(
        UserError, match=r"near_duplicates_in_training drop: dataset.near_duplicates is 0"
    ):
        divide(tmp_path, [line(1)], near_in_training="drop")
