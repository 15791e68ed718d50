"""The example data: what the script makes, without overlap, and fit for the pipelines."""

import difflib
import json
import platform
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from ft_assets.data.ingest import ingest
from ft_assets.data.near_duplicates import shingles, similarity
from ft_assets.data.split import split

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples/python-docs"
DROPS = ["drop-1.jsonl", "drop-2.jsonl"]


def turns(name: str) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]
    return [(r["messages"][0]["content"], r["messages"][1]["content"]) for r in rows]


def test_the_script_makes_the_committed_bytes(tmp_path):
    here = f"CPython {platform.python_version()} ({sys.platform})"
    if here not in (FOLDER / "README.md").read_text():
        pytest.skip(f"the docstrings are not those of {here}; see examples/python-docs/README.md")
    script = [sys.executable, "scripts/make_examples.py", "--out", str(tmp_path)]
    subprocess.run(script, cwd=ROOT, check=True, capture_output=True)
    for path in FOLDER.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_drops_have_no_question_in_common_and_each_mixes_many_modules():
    first, second = ({question for question, _ in turns(name)} for name in DROPS)
    assert len(first) == len(second) == 375
    assert not first & second
    for questions in (first, second):
        assert len({q.split("`")[1].split(".")[0] for q in questions}) > 100


def test_no_answer_nearly_equals_another_within_or_across_the_drops():
    answers = [answer for name in DROPS for _, answer in turns(name)]
    grams = [shingles(answer) for answer in answers]
    assert all(similarity(one, other) < 0.5 for one, other in combinations(grams, 2))
    words = [frozenset(answer.lower().split()) for answer in answers]
    likely = [
        (answers[i].lower(), answers[j].lower())
        for i, j in combinations(range(len(answers)), 2)
        if similarity(words[i], words[j]) >= 0.5
    ]
    assert all(
        difflib.SequenceMatcher(None, *pair, autojunk=False).ratio() < 0.85 for pair in likely
    )


@pytest.mark.parametrize("name", DROPS)
def test_a_drop_goes_through_ingest_and_split_without_losing_a_row(tmp_path, name):
    report = ingest([(name, FOLDER / name)], tmp_path, on_bad_rows="fail", max_bad_rows=0)
    assert report.rows_kept == 375
    options = {"ratio": 0.9, "seed": 42, "subset": 0, "near_duplicates": 0.8}
    divided = split(tmp_path / "rows.jsonl", tmp_path / "out", **options)
    assert divided.dropped == {}
    assert 20 <= divided.held_out_rows <= 60
