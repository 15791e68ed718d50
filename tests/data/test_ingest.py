"""From files to the raw dataset."""

import hashlib
import json
from pathlib import Path

import pytest

from ft_assets.data.ingest import ingest
from resources.errors import UserError


def row(text: str) -> dict:
    return {
        "messages": [
            {"role": "user", "content": text},
            {"role": "assistant", "content": f"Answer to {text}"},
        ]
    }


def written(path: Path, *rows: object) -> tuple[str, Path]:
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return path.name, path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_rows_are_written_in_order_in_one_form_and_counted(tmp_path):
    sharegpt = {"conversations": [{"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]}
    files = [
        written(tmp_path / "a.jsonl", row("one"), row("two")),
        written(tmp_path / "b.jsonl", sharegpt),
    ]
    report = ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    stored = lines(tmp_path / "out/rows.jsonl")
    assert [r["messages"][0]["content"] for r in stored] == ["one", "two", "c"]
    assert all(set(r) == {"id", "messages"} and len(r["id"]) == 64 for r in stored)
    assert (report.rows_read, report.rows_kept, report.dropped) == (3, 3, {})
    assert report.files == {"a.jsonl": 2, "b.jsonl": 1}
    assert (report.turns, report.roles) == (6, {"user": 3, "assistant": 3})
    assert report.characters == sum(len(m["content"]) for r in stored for m in r["messages"])
    content = (tmp_path / "out/rows.jsonl").read_bytes()
    assert report.digest == hashlib.sha256(content).hexdigest()
    assert report.samples[0]["messages"] == row("one")["messages"]
    assert json.loads(report.model_dump_json()) == report.model_dump()


def test_the_id_of_a_row_is_the_hash_of_its_canonical_form(tmp_path):
    files = [written(tmp_path / "a.jsonl", row("one"))]
    ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    (line,) = (tmp_path / "out/rows.jsonl").read_bytes().splitlines()
    (stored,) = lines(tmp_path / "out/rows.jsonl")
    canonical = b"{" + line.partition(b",")[2]
    assert stored["id"] == hashlib.sha256(canonical).hexdigest()


def test_the_digest_names_the_content_and_not_the_files_it_came_from(tmp_path):
    one = [written(tmp_path / "a.jsonl", row("one"), row("two"))]
    two = [written(tmp_path / "b.jsonl", row("one")), written(tmp_path / "c.jsonl", row("two"))]
    options = {"on_bad_rows": "fail", "max_bad_rows": None}
    first = ingest(one, tmp_path / "1", **options).digest
    assert ingest(two, tmp_path / "2", **options).digest == first
    assert ingest(two[::-1], tmp_path / "3", **options).digest != first


BAD = ['{"messages": [', {"messages": []}, row("fine"), {"prompt": "x"}, {"prompt": "y"}]


def test_by_default_the_first_bad_row_fails_with_its_file_and_number(tmp_path):
    files = [written(tmp_path / "a.jsonl", row("one"), *BAD)]
    with pytest.raises(UserError) as error:
        ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    assert str(error.value).startswith("a.jsonl, row 2: broken JSON (")
    assert "at column" in str(error.value)
    assert "; fix the row or set dataset.on_bad_rows: drop" in str(error.value)


def test_dropped_rows_are_counted_by_reason_and_listed(tmp_path):
    files = [written(tmp_path / "a.jsonl", *BAD)]
    report = ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)
    assert (report.rows_read, report.rows_kept) == (5, 1)
    assert report.dropped == {"broken_json": 1, "no_turns": 1, "no_chat_key": 2}
    dropped = lines(tmp_path / "out/dropped.jsonl")
    assert [(d["file"], d["row"]) for d in dropped] == [("a.jsonl", n) for n in (1, 2, 4, 5)]
    assert dropped[2]["excerpt"] == '{"prompt":"x"}'


@pytest.mark.parametrize(("allowed", "passes"), [(4, True), (3, False), (0, False)])
def test_more_bad_rows_than_allowed_fail(tmp_path, allowed, passes):
    files = [written(tmp_path / "a.jsonl", *BAD)]
    if passes:
        ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=allowed)
    else:
        with pytest.raises(UserError, match=f"dataset.max_bad_rows is {allowed}"):
            ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=allowed)


def test_a_dataset_without_one_valid_row_fails_whatever_may_be_dropped(tmp_path):
    files = [written(tmp_path / "a.jsonl", {"prompt": "x"})]
    with pytest.raises(UserError, match=r"none of the 1 rows of a.jsonl is valid \(no_chat_key: 1"):
        ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)


def test_a_failed_call_leaves_nothing_behind(tmp_path):
    files = [written(tmp_path / "a.jsonl", row("one"), "{")]
    with pytest.raises(UserError):
        ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    assert list((tmp_path / "out").iterdir()) == []


def test_samples_hide_what_could_be_private(tmp_path):
    files = [written(tmp_path / "a.jsonl", row("mail ann@example.org " + "word " * 200))]
    report = ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    shown = report.samples[0]["messages"][0]["content"]
    assert shown.startswith("mail *** word")
    assert len(shown) <= 200
