"""Large files are checked by several processes, which changes nothing but the time."""

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_assets.data import check_workers, helper_process, helpers, line_ranges
from ft_assets.data.check_workers import CheckWorkers
from ft_assets.data.checked_rows import Checker
from ft_assets.data.formats import RowFormat
from ft_assets.data.ingest import DROPPED_FILE, ROWS_FILE, ingest
from ft_assets.data.line_files import LineWriter, writing
from resources.errors import UserError


def chat(text: str, **beside: object) -> bytes:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": f"Re: {text}"}]
    return json.dumps({"messages": turns, **beside}, ensure_ascii=False).encode()


def helpers_left() -> list[psutil.Process]:
    """The session has other children: servers that its tests share."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and helper_process.START in child.cmdline()
    ]


@pytest.fixture
def small_ranges(monkeypatch):
    """So that a few lines are many ranges and pieces, and long lines giant ones."""
    monkeypatch.setattr(line_ranges, "RANGE", 200)
    monkeypatch.setattr(line_ranges, "_LOOK", 16)
    monkeypatch.setattr(line_ranges, "_PIECE", 60)
    monkeypatch.setattr(check_workers, "GIANT", 700)


texts = st.text(max_size=12) | st.integers(0, 3).map(lambda size: "long " * 100 * size)
lines = st.one_of(
    texts.map(chat),
    texts.map(lambda text: chat(text, id=1, source=None)),
    texts.map(lambda text: json.dumps({"instruction": text, "output": "b"}).encode()),
    texts.map(lambda text: json.dumps({"text": text, "mail": "a@b.org"}).encode()),
    st.sampled_from(
        [
            b"",
            b" \t",
            b"\r",
            b"{",
            b"[]",
            b"{}",
            b"\xff",
            chat("a") + b"\r",
            chat("a") + b"\r" + chat("b"),
            chat("mail someone@mail.org"),
            b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        ]
    ),
    st.dictionaries(texts, st.none() | st.integers() | texts, max_size=4).map(
        lambda row: json.dumps(row).encode()
    ),
)
contents = st.builds(
    lambda bom, found, end: bom + b"\n".join([chat("first"), *found]) + end,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(lines, max_size=40),
    st.sampled_from([b"", b"\n", b"\n\n", b"\n{"]),
)
options = st.sampled_from(
    [
        {},
        {"sensitive": "redact"},
        {"sensitive": "drop"},
        {"options": RowFormat(roles={"user": ["x"]})},
        {"group_by": "id"},
        {"group_by": "id", "may_lack": True},
        {"on_bad_rows": "fail"},
        {"max_bad_rows": 2},
    ]
)


def made(path: Path, out: Path, processes: int, **given: object) -> tuple[object, ...]:
    """All that an ingest leaves behind: its report and both files, or its error."""
    asked = {"on_bad_rows": "drop", "max_bad_rows": None, **given}
    try:
        report = ingest([("x.jsonl", path)], out, processes=processes, **asked)
    except UserError as error:
        assert not list(out.iterdir())
        return (str(error),)
    kept, dropped = (out / name for name in (ROWS_FILE, DROPPED_FILE))
    return report.model_dump_json(), kept.read_bytes(), dropped.read_bytes()


def as_one_stream(content: bytes, folder: Path, **given: object) -> tuple[object, ...]:
    """The same rows through the way of compressed files, which are not cut into ranges."""
    path = folder / "x.jsonl.gz"
    path.write_bytes(gzip.compress(content, 1))
    return made(path, folder / "stream", 0, **given)


@settings(max_examples=150, deadline=None)
@given(contents, options)
def test_ranges_give_what_one_stream_gives(content, given):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        small_ranges.__wrapped__(patch)
        path = Path(name) / "x.jsonl"
        path.write_bytes(content)
        assert made(path, Path(name) / "ranges", 0, **given) == as_one_stream(
            content, Path(name), **given
        )


@settings(max_examples=8, deadline=None)
@given(st.lists(contents, min_size=2, max_size=4), options, st.integers(1, 3))
def test_helpers_give_the_same_bytes_report_and_errors(found, given, processes):
    content = b"\n".join(found)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        small_ranges.__wrapped__(patch)
        path = Path(name) / "x.jsonl"
        path.write_bytes(content)
        one = made(path, Path(name) / "one", 0, **given)
        assert made(path, Path(name) / "several", processes, **given) == one
        assert as_one_stream(content, Path(name), **given) == one
    assert not helpers_left()


def test_a_bad_row_in_a_later_range_is_named_by_its_place_in_the_file(tmp_path, small_ranges):
    path = tmp_path / "x.jsonl"
    good = b"".join(chat(f"{n}") + b"\n" for n in range(50))
    path.write_bytes(good + b"\n{\n" + good)
    with pytest.raises(UserError) as error:
        ingest([("x", path)], tmp_path / "out", on_bad_rows="fail", max_bad_rows=None, processes=2)
    assert str(error.value).startswith("x, row 52: broken JSON")
    assert f"(the row starts at byte {len(good) + 1})" in str(error.value)
    assert not list((tmp_path / "out").iterdir())
    assert not helpers_left()


def test_rows_behind_many_that_were_read_at_once_keep_their_places(tmp_path):
    path = tmp_path / "x.jsonl"
    good = b"".join(chat(f"{n} " * 50) + b"\n" for n in range(1000))
    assert 2 * line_ranges._PIECE < len(good) < line_ranges.RANGE
    path.write_bytes(good + b"{\n" + good + b"\n[]\n" + good)
    _, rows, dropped = made(path, tmp_path / "out", 0)
    assert rows.count(b"\n") == 3000
    places = [(bad["row"], bad["offset"]) for bad in map(json.loads, dropped.splitlines())]
    assert places == [(1001, len(good)), (2003, 2 * len(good) + 3)]


def test_the_first_keys_of_the_file_are_kept_whatever_the_ranges(tmp_path, small_ranges):
    rows = [chat("a", **{f"key {n * 7 + k}": 1 for k in range(7)}) for n in range(20)]
    content = b"\n".join([*rows, *rows])
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    report = made(path, tmp_path / "several", 2)
    assert report == as_one_stream(content, tmp_path)
    keys = json.loads(report[0])["source_keys"]
    assert len(keys) == 50
    assert keys["key 3"]["rows"] == 2


def test_what_a_range_comes_to_in_several_parts_is_written_one_behind_the_other(
    tmp_path, monkeypatch
):
    """A bad row counts for more than it takes, so that lists of them stay short too."""
    monkeypatch.setattr(line_ranges, "RANGE", 20_000)
    content = b"".join(chat(f"{n}") + b"\n" + b"{\n" * 1000 for n in range(30))
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    assert len(content) > 3 * line_ranges.RANGE
    assert made(path, tmp_path / "several", 2) == as_one_stream(content, tmp_path)


@pytest.fixture
def many_rows(tmp_path, small_ranges) -> Path:
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(chat(f"{n}") + b"\n" for n in range(1000)))
    return path


def test_a_helper_that_is_killed_is_an_error_and_no_hang(many_rows):
    with CheckWorkers(Checker(), 2, Path(os.devnull)) as workers:
        parts = workers.parts(many_rows, 0, lambda: 0)
        next(parts)
        killed, other = helpers_left()
        killed.kill()
        with pytest.raises(ChildProcessError, match=r"many\.jsonl.*killed \(SIGKILL\).*memory"):
            list(parts)
        assert other.is_running()
    assert not helpers_left()


def written(workers: CheckWorkers, rows: Path, out: LineWriter) -> None:
    for part in workers.parts(rows, 0, lambda: 0):
        part.write_to(out)


def test_a_helper_that_is_ended_by_a_signal_without_a_name_is_an_error(many_rows):
    with CheckWorkers(Checker(), 2, Path(os.devnull)) as workers:
        parts = workers.parts(many_rows, 0, lambda: 0)
        next(parts)
        helpers_left()[0].send_signal(signal.SIGRTMIN + 2)
        with pytest.raises(ChildProcessError, match=r"killed \(signal \d+\): run it again"):
            list(parts)


def test_a_helper_that_is_killed_before_it_wrote_all_is_an_error(many_rows, tmp_path):
    with (
        writing(tmp_path / "rows.jsonl") as out,
        CheckWorkers(Checker(), 2, out.path) as workers,
    ):
        written(workers, many_rows, out)
        helpers_left()[1].kill()
        with pytest.raises(ChildProcessError, match=r"killed \(SIGKILL\)"):
            workers.settle()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_without_room_is_an_error_at_the_next_answer(many_rows, tmp_path):
    with (
        writing(tmp_path / "rows.jsonl") as out,
        CheckWorkers(Checker(), 2, Path("/dev/full")) as workers,
        pytest.raises(OSError, match="No space left on device"),
    ):
        written(workers, many_rows, out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_without_room_for_the_last_rows_is_an_error_too(many_rows, tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_bytes(b"".join(many_rows.read_bytes().splitlines(keepends=True)[:3]))
    with (
        writing(tmp_path / "rows.jsonl") as out,
        CheckWorkers(Checker(), 2, Path("/dev/full")) as workers,
    ):
        written(workers, few, out)
        with pytest.raises(OSError, match="No space left on device"):
            workers.settle()


def test_a_helper_that_cannot_start_is_an_error_and_no_hang(many_rows, monkeypatch, capfd):
    monkeypatch.setattr(helpers, "START", "raise SystemExit(3)")
    with (
        CheckWorkers(Checker(), 2, Path(os.devnull)) as workers,
        pytest.raises(ChildProcessError, match="ended with code 3"),
    ):
        list(workers.parts(many_rows, 0, lambda: 0))
    assert not helpers_left()


@pytest.mark.parametrize("number", [0, 2])
def test_what_goes_wrong_in_a_helper_is_raised_as_it_would_be_here(many_rows, number):
    with CheckWorkers(Checker(), number, Path(os.devnull)) as workers:
        parts = workers.parts(many_rows, 0, lambda: 0)
        next(parts)
        os.truncate(many_rows, 5000)
        with pytest.raises(UserError, match=r"many\.jsonl: the file became shorter"):
            list(parts)


PARENT = """
import sys, time
from pathlib import Path
from ft_assets.data import check_workers, line_ranges
from ft_assets.data.checked_rows import Checker

line_ranges.RANGE = 200
with check_workers.CheckWorkers(Checker(), 2, Path("/dev/null")) as workers:
    parts = workers.parts(Path(sys.argv[1]), 0, lambda: 0)
    next(parts)
    print(flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_helpers_end_with_their_parent(many_rows, how):
    command = [sys.executable, "-c", PARENT, str(many_rows)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        parent.stdout.readline()
        helpers = psutil.Process(parent.pid).children()
        assert len(helpers) == 2
        if how == signal.SIGINT:  # Ctrl-C reaches all processes of the terminal
            os.killpg(parent.pid, how)
        else:
            parent.send_signal(how)
        parent.wait(timeout=30)
        _, alive = psutil.wait_procs(helpers, timeout=30)
        assert not alive
        assert parent.stderr.read().count("Traceback") == (how == signal.SIGINT)


def test_a_helper_imports_nothing_heavy():
    code = (
        "import sys, ft_assets.data.check_helper, ft_assets.data.checked_rows; "
        "print({'dagster', 'numpy', 'pandas', 'pyarrow', 'pydantic', 'torch'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert shown.stdout == b"set()\n"
