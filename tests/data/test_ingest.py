"""From files to the raw dataset."""

import hashlib
import json
from pathlib import Path

import pytest

from ft_assets.data.canonical import canonical_bytes
from ft_assets.data.formats import RowFormat
from ft_assets.data.ingest import ingest
from ft_assets.data.row_files import read_rows
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
    assert report.shapes == {"chat": 3}
    assert report.characters == sum(len(m["content"]) for r in stored for m in r["messages"])
    assert report.samples[0]["messages"] == row("one")["messages"]
    assert json.loads(report.model_dump_json()) == report.model_dump()


def test_the_id_of_a_row_is_the_hash_of_its_canonical_form(tmp_path):
    files = [written(tmp_path / "a.jsonl", row("one"))]
    ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    (line,) = (tmp_path / "out/rows.jsonl").read_bytes().splitlines()
    (stored,) = lines(tmp_path / "out/rows.jsonl")
    canonical = b"{" + line.partition(b",")[2]
    assert stored["id"] == hashlib.sha256(canonical).hexdigest()


def test_the_rows_file_is_the_content_alone_and_not_the_files_it_came_from(tmp_path):
    one = [written(tmp_path / "a.jsonl", row("one"), row("two"))]
    two = [written(tmp_path / "b.jsonl", row("one")), written(tmp_path / "c.jsonl", row("two"))]
    options = {"on_bad_rows": "fail", "max_bad_rows": None}
    for number, files in enumerate((one, two, two[::-1])):
        ingest(files, tmp_path / str(number), **options)
    first, second, third = ((tmp_path / str(n) / "rows.jsonl").read_bytes() for n in range(3))
    assert first == second != third


BAD = ['{"messages": [', {"messages": []}, row("fine"), {"title": "x"}, {"title": "y"}]


def test_by_default_the_first_bad_row_fails_with_its_file_and_number(tmp_path):
    files = [written(tmp_path / "a.jsonl", row("one"), *BAD)]
    with pytest.raises(UserError) as error:
        ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    assert str(error.value).startswith("a.jsonl, row 2: broken JSON (")
    start = len(json.dumps(row("one"))) + 1
    assert str(error.value).endswith(
        f"at column 16 (the row starts at byte {start}); "
        "fix the row or set dataset.on_bad_rows: drop"
    )


def test_dropped_rows_are_counted_by_reason_and_listed(tmp_path):
    files = [written(tmp_path / "a.jsonl", *BAD)]
    report = ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)
    assert (report.rows_read, report.rows_kept) == (5, 1)
    assert report.dropped == {"broken_json": 1, "no_turns": 1, "unknown_format": 2}
    dropped = lines(tmp_path / "out/dropped.jsonl")
    assert [(d["file"], d["row"]) for d in dropped] == [("a.jsonl", n) for n in (1, 2, 4, 5)]
    content = files[0][1].read_bytes()
    assert [content[d["offset"] :].splitlines()[0] for d in dropped] == [
        content.splitlines()[n] for n in (0, 1, 3, 4)
    ]
    assert dropped[1]["kind"] == "no_turns"
    assert dropped[1]["reason"] == "'messages' is an empty list"
    assert dropped[2]["excerpt"] == '{"title":"x"}'
    assert [row.model_dump() for row in report.dropped_rows] == dropped


def test_the_report_shows_the_first_dropped_rows_and_the_file_has_them_all(tmp_path):
    files = [written(tmp_path / "a.jsonl", row("one"), *["{"] * 30)]
    report = ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)
    assert [bad.row for bad in report.dropped_rows] == list(range(2, 22))
    assert len(lines(tmp_path / "out/dropped.jsonl")) == report.dropped["broken_json"] == 30


def test_a_row_that_is_nested_too_deeply_is_dropped_as_any_other(tmp_path):
    depth = 900
    deep = '{"a": ' * depth + "1" + "}" * depth
    turns = row("deep")["messages"]
    tools = f'{{"messages": {json.dumps(turns)}, "tools": [{deep}]}}'
    files = [written(tmp_path / "a.jsonl", row("one"), deep, tools)]
    report = ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)
    assert report.dropped == {"unknown_format": 1, "too_deep": 1}
    assert report.dropped_rows[1].excerpt == "keys: messages, tools"


@pytest.mark.parametrize(("allowed", "passes"), [(4, True), (3, False), (0, False)])
def test_more_bad_rows_than_allowed_fail(tmp_path, allowed, passes):
    files = [written(tmp_path / "a.jsonl", *BAD)]
    if passes:
        ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=allowed)
    else:
        with pytest.raises(UserError, match=f"dataset.max_bad_rows is {allowed}"):
            ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=allowed)


def test_a_dataset_without_one_valid_row_fails_whatever_may_be_dropped(tmp_path):
    files = [written(tmp_path / "a.jsonl", {"title": "x"})]
    with pytest.raises(UserError, match=r"none of the 1 rows of a.jsonl is valid \(unknown_form"):
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


EVERY_SHAPE = [
    row("one"),
    {"instruction": "Add", "input": "1+1", "output": "2"},
    {"segments": [{"label": False, "text": "Q "}, {"label": True, "text": "ann@example.org"}]},
    {"text": "raw"},
    {"input_ids": [1, 2], "labels": [-100, 2]},
]


def test_rows_of_every_shape_are_stored_counted_and_shown(tmp_path):
    files = [written(tmp_path / "a.jsonl", *EVERY_SHAPE)]
    report = ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    assert report.shapes == {"chat": 2, "segments": 1, "text": 1, "tokens": 1}
    assert (report.rows_kept, report.turns) == (5, 4)
    assert report.characters == len("oneAnswer to oneAdd\n\n1+12Q ann@example.orgraw")
    stored = list(read_rows(tmp_path / "out/rows.jsonl"))
    assert [type(s.row).__name__ for s in stored] == ["Chat", "Chat", "Segments", "Text", "Tokens"]
    assert all(canonical_bytes(s.row)[1:] == s.line.partition(b",")[2][:-1] for s in stored)
    assert report.samples[2]["messages"] == [
        {"role": "text", "content": "Q"},
        {"role": "text", "content": "***"},
    ]


def test_samples_of_text_and_tokens_are_turns_of_the_role_text(tmp_path):
    files = [written(tmp_path / "a.jsonl", *EVERY_SHAPE[3:])]
    report = ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    assert [s["messages"] for s in report.samples] == [
        [{"role": "text", "content": "raw"}],
        [{"role": "text", "content": "1 2"}],
    ]


def test_the_options_say_how_rows_are_read(tmp_path):
    thinking = row("one")
    thinking["messages"][1]["content"] = "<think>Hm.</think>Yes"
    files = [written(tmp_path / "a.jsonl", thinking)]
    options = RowFormat(split_thinking=True)
    ingest(files, tmp_path / "out", options=options, on_bad_rows="fail", max_bad_rows=None)
    (stored,) = lines(tmp_path / "out/rows.jsonl")
    assert stored["messages"][1]["reasoning_content"] == "Hm."
    with pytest.raises(UserError, match="'text' is missing"):
        ingest(
            files,
            tmp_path / "out",
            options=RowFormat(format="completion"),
            on_bad_rows="fail",
            max_bad_rows=None,
        )


def test_plain_rows_and_rows_with_metadata_are_stored_alike(tmp_path):
    """The one takes the short way, the other not quite so short a one."""
    rich = [{**row("one"), "id": 1}, {**row("two"), "id": None}]
    plain = [written(tmp_path / "a.jsonl", row("one"), row("two"))]
    with_metadata = [written(tmp_path / "b.jsonl", *rich)]
    options = {"on_bad_rows": "fail", "max_bad_rows": None}
    first = ingest(plain, tmp_path / "1", **options)
    second = ingest(with_metadata, tmp_path / "2", **options)
    general = ingest(plain, tmp_path / "3", options=RowFormat(format="chat"), **options)
    files = [(tmp_path / str(number) / "rows.jsonl").read_bytes() for number in (1, 2, 3)]
    assert files[0] == files[1] == files[2]
    same = {"shapes", "roles", "turns", "characters", "samples", "rows_kept"}
    assert first.model_dump(include=same) == second.model_dump(include=same)
    assert first.model_dump() == general.model_dump()


def test_the_keys_of_the_source_rows_are_told_with_their_types(tmp_path):
    files = [
        written(
            tmp_path / "a.jsonl",
            row("plain"),
            {**row("a"), "id": 1, "score": 0.5, "ok": True},
            {**row("b"), "id": "x", "score": None, "meta": {}},
            {"title": "bad"},
        )
    ]
    report = ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)
    assert {key: (seen.rows, seen.types) for key, seen in report.source_keys.items()} == {
        "messages": (3, ["array"]),
        "id": (2, ["number", "string"]),
        "score": (1, ["number"]),
        "ok": (1, ["boolean"]),
        "meta": (1, ["object"]),
        "title": (1, ["string"]),
    }


def test_a_thousand_keys_are_not_told(tmp_path):
    wide = {**row("one"), **{f"key {n}": n for n in range(1000)}}
    files = [written(tmp_path / "a.jsonl", wide)]
    report = ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    assert len(report.source_keys) == 50
    assert "messages" in report.source_keys


def test_the_group_and_the_stratum_of_a_row_are_written_as_text(tmp_path):
    source = [
        {**row("a"), "user": "ann", "level": 3},
        {**row("b"), "user": 7, "level": True},
        {**row("c"), "user": 1.5, "level": ""},
    ]
    files = [written(tmp_path / "a.jsonl", *source)]
    options = {"on_bad_rows": "fail", "max_bad_rows": None}
    ingest(files, tmp_path / "out", group_by="user", stratify_by="level", **options)
    stored = list(read_rows(tmp_path / "out/rows.jsonl"))
    assert [(s.group, s.stratum) for s in stored] == [("ann", "3"), ("7", "true"), ("1.5", "")]
    ingest(files, tmp_path / "out", group_by="user", **options)
    stored = list(read_rows(tmp_path / "out/rows.jsonl"))
    assert [(s.group, s.stratum) for s in stored] == [("ann", None), ("7", None), ("1.5", None)]


@pytest.mark.parametrize(
    ("argument", "kind"), [("group_by", "no_group"), ("stratify_by", "no_stratum")]
)
@pytest.mark.parametrize(
    ("beside", "found"),
    [({}, "missing or null"), ({"user": None}, "missing or null"), ({"user": ["x"]}, "a list")],
)
def test_a_row_without_its_group_or_stratum_is_bad(tmp_path, argument, kind, beside, found):
    files = [written(tmp_path / "a.jsonl", {**row("a"), "user": "ann"}, {**row("b"), **beside})]
    options = {"on_bad_rows": "drop", "max_bad_rows": None, argument: "user"}
    report = ingest(files, tmp_path / "out", **options)
    assert report.dropped == {kind: 1}
    assert report.dropped_rows[0].reason == (
        f"'user', which dataset.{argument} names, is {found}: "
        "give every row a text, a number, true or false"
    )


def test_a_bad_file_after_good_rows_leaves_nothing_behind(tmp_path):
    files = [written(tmp_path / "a.jsonl", *[row("x" * 1000)] * 20_000)]
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    files.append(("b.jsonl.gz", tmp_path / "b.jsonl.gz"))
    with pytest.raises(UserError, match=r"b\.jsonl\.gz, after row 0: the \.gz stream is damaged"):
        ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_of_many_blocks_is_written_in_order(tmp_path):
    files = [written(tmp_path / "a.jsonl", *[row(f"{n} " + "x" * 2000) for n in range(6_000)])]
    ingest(files, tmp_path / "out", on_bad_rows="fail", max_bad_rows=None)
    content = (tmp_path / "out/rows.jsonl").read_bytes()
    assert len(content) > 20_000_000
    assert [int(r["messages"][0]["content"].split()[0]) for r in lines(tmp_path / "out/rows.jsonl")
            ] == list(range(6_000))  # fmt: skip
