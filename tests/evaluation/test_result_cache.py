"""The file of answers: what it finds, what it refuses to trust, and what a kill costs."""

from __future__ import annotations

import logging
import math
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation.cache import ResultCache
from resources.errors import UserError

MODEL = "sha256:" + "ab" * 32
CONTEXT: dict[str, Any] = {"dtype": "torch.float32", "max_length": 256}


def opened(folder: Path, model: str = MODEL, **options: Any) -> ResultCache:
    return ResultCache(folder, model, options.pop("context", CONTEXT), **options)


def filled(folder: Path, count: int = 50) -> ResultCache:
    cache = opened(folder)
    cache.put_many((key_of(cache, n), [float(n), True]) for n in range(count))
    return cache


def key_of(cache: ResultCache, n: int) -> str:
    return cache.key("1", "loglikelihood", [f"context {n}", " answer"])


def asides(cache: ResultCache) -> list[Path]:
    return sorted(cache.path.parent.glob("*.damaged-*"))


def test_what_was_put_is_found_by_another_process(tmp_path: Path) -> None:
    first = opened(tmp_path)
    key = first.key("1", "generate_until", ["Größe?", {"until": ["\n"]}])
    assert first.get_many([key]) == {}
    assert first.put_many([(key, "Zwei Meter \ud83d ✓")]) == 1
    assert opened(tmp_path).get_many([key, "00" * 32]) == {key: "Zwei Meter \ud83d ✓"}


def test_the_file_of_a_model_lies_under_its_digest(tmp_path: Path) -> None:
    assert opened(tmp_path).path == tmp_path / "ab" / ("ab" * 32 + ".db")
    odd = opened(tmp_path, model="../../elsewhere").path
    assert odd.parent.parent == tmp_path
    assert not (tmp_path.parent / "elsewhere").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"context": {**CONTEXT, "dtype": "torch.bfloat16"}},
        {"context": {**CONTEXT, "max_length": 128}},
        {"model": "sha256:" + "cd" * 32},
    ],
)
def test_other_circumstances_find_nothing(tmp_path: Path, other: dict[str, Any]) -> None:
    filled(tmp_path)
    cache = opened(tmp_path, **other)
    assert cache.get_many([key_of(cache, 1)]) == {}


def test_the_key_tells_version_kind_arguments_and_extra_apart(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    keys = [
        cache.key("1", "loglikelihood", ["a", "b"]),
        cache.key("2", "loglikelihood", ["a", "b"]),
        cache.key("1", "generate_until", ["a", "b"]),
        cache.key("1", "loglikelihood", ["ab", ""]),
        cache.key("1", "loglikelihood", ["a", "b"], {"seed": 1}),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key("1", "g", [{"x": 1, "y": 2}]) == cache.key("1", "g", [{"y": 2, "x": 1}])


def test_an_argument_that_is_no_json_is_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        opened(tmp_path).key("1", "loglikelihood", [object()])


@pytest.mark.parametrize("value", [math.nan, [-math.inf, False], {"turns": [{"nll": math.inf}]}])
def test_what_is_not_finite_is_asked_again(tmp_path: Path, value: Any) -> None:
    cache = opened(tmp_path)
    good, bad = key_of(cache, 1), key_of(cache, 2)
    assert cache.put_many([(bad, value), (good, [-1.5, True])]) == 1
    assert cache.get_many([good, bad]) == {good: [-1.5, True]}


def test_many_keys_are_asked_at_once(tmp_path: Path) -> None:
    cache = filled(tmp_path, count=1700)
    wanted = {key_of(cache, n): [float(n), True] for n in range(1700)}
    assert cache.get_many(wanted) == wanted


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 99])
def test_a_file_that_is_no_database_is_set_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = opened(tmp_path).path
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        cache = filled(tmp_path)
    (aside,) = asides(cache)
    assert aside.read_bytes() == content
    assert f"set aside {path}" in caplog.text
    assert len(cache) == 50


def test_a_database_of_something_else_is_set_aside(tmp_path: Path) -> None:
    path = opened(tmp_path).path
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE answers (key, value)")
    database.close()
    cache = filled(tmp_path)
    assert len(asides(cache)) == 1
    assert len(cache) == 50


def test_the_file_of_another_model_is_set_aside(tmp_path: Path) -> None:
    other = filled(tmp_path)
    mine = "sha256:" + "abcd" * 16
    path = opened(tmp_path / "x", model=mine).path
    path.write_bytes(other.path.read_bytes())
    cache = opened(tmp_path / "x", model=mine)
    assert (len(cache), len(asides(cache))) == (0, 1)


def test_a_flipped_byte_anywhere_is_never_an_answer(tmp_path: Path) -> None:
    cache = filled(tmp_path, count=20)
    whole = cache.path.read_bytes()
    keys = {key_of(cache, n): [float(n), True] for n in range(20)}
    for place in range(0, len(whole), 97):
        cache.path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :])
        found = opened(tmp_path).get_many(keys)
        assert found.items() <= keys.items(), f"byte {place}"


def test_a_wrong_value_sets_the_file_aside(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    whole = cache.path.read_bytes()
    assert b"[7.0,true]" in whole
    cache.path.write_bytes(whole.replace(b"[7.0,true]", b"[9.0,true]"))
    assert cache.get_many([key_of(cache, 7)]) == {}
    assert len(asides(cache)) == 1
    assert cache.put_many([(key_of(cache, 7), [7.0, True])]) == 1


def test_the_least_recently_used_go_when_it_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    cache = opened(tmp_path, max_bytes=100_000, clock=lambda: now[0])
    for n in range(150):
        now[0] += 4000
        cache.put_many([(key_of(cache, n), "x" * 1000)])
        assert cache.get_many([key_of(cache, 0)])  # in use all the time
    kept = {n for n in range(150) if cache.get_many([key_of(cache, n)])}
    assert {0, 149, 148} <= kept
    assert not kept & set(range(1, 50))
    assert cache.path.stat().st_size <= 120_000
    assert "least recently used were removed" in caplog.text


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make the folder .*file/ab"):
        opened(tmp_path / "file")


_WRITER = """
import sys
from pathlib import Path
from ft_assets.evaluation.cache import ResultCache
cache = ResultCache(Path(sys.argv[1]), sys.argv[2], {"dtype": "torch.float32", "max_length": 256})
first, last = int(sys.argv[3]), int(sys.argv[4])
for start in range(first, last, 10):
    cache.put_many(
        (cache.key("1", "loglikelihood", [f"context {n}", " answer"]), [float(n), True])
        for n in range(start, start + 10)
    )
    print(start, flush=True)
"""


def writer(folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder), MODEL, str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    running = [writer(tmp_path, start, start + 200) for start in (0, 100, 200)]
    for process in running:
        process.communicate()
        assert process.returncode == 0
    cache = opened(tmp_path)
    assert len(cache) == 400
    assert asides(cache) == []


def test_a_writer_that_is_killed_leaves_whole_batches(tmp_path: Path) -> None:
    process = writer(tmp_path, 0, 1_000_000)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(15)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cache = opened(tmp_path)
    assert len(cache) % 10 == 0
    keys = [key_of(cache, n) for n in range(said[-1] + 10)]
    assert len(cache.get_many(keys)) == len(keys)
    assert asides(cache) == []


_HALF = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the commit
database.execute("BEGIN IMMEDIATE")
for n in range(5000):
    row = (n.to_bytes(32, "big"), b"9" * 400, b"12345678", 0)
    database.execute("INSERT INTO answers (key, value, checksum, used) VALUES (?, ?, ?, ?)", row)
database.execute("UPDATE answers SET value = '[0.0,false]'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_in_the_middle_of_a_write_leaves_what_was_there(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    before = cache.path.stat().st_size
    done = subprocess.run([sys.executable, "-c", _HALF, str(cache.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert cache.path.stat().st_size > before
    assert cache.path.with_name(cache.path.name + "-journal").exists()
    wanted = {key_of(cache, n): [float(n), True] for n in range(50)}
    assert cache.get_many(wanted) == wanted
    assert (len(cache), asides(cache)) == (50, [])


def test_processes_that_find_a_damaged_file_together_set_it_aside_once(tmp_path: Path) -> None:
    path = opened(tmp_path).path
    path.write_bytes(b"damaged" * 1000)
    running = [writer(tmp_path, start, start + 100) for start in (0, 100)]
    for process in running:
        process.communicate()
        assert process.returncode == 0
    cache = opened(tmp_path)
    assert len(asides(cache)) == 1
    assert len(cache) == 200
