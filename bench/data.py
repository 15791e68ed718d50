"""Rows per second of the data plane: validate every row, drop exact duplicates, hash split, write.

Ours is `ingest` and `split` without the search for near duplicates. Beside it stand the parser's
own limit, and two ways through `datasets` in memory:

- the same work (`ratio_to_datasets`): load, validate every row (roles, contents, at least one
  answer), give it the SHA-256 of its canonical JSON, drop exact duplicates, split by hash, write
  both sides once. The documented means of `datasets`: `filter` and `map` in batches, plain Python
  in the functions. What ours also does is left out: other formats, a report, lines for bad rows.
- Kubeflow's component as it is (`ratio_to_component`): load, select the columns, look at the first
  100 rows, split at random, write both sides, once as an artifact and once to the volume. It
  validates 100 rows and drops nothing.

Each side runs in a process of its own, in turn, on the same file, which is made for the run from
the sentences of this repository's documents and examples by a seeded generator (2 % of its rows are
equal and 2 % nearly equal to an earlier one). `peak_mib` adds up the peaks of a side's process and
of all that it started, also of those that were not there at the same time: no less than what was
in use at any time. Prints one JSON object as its last line.

    python bench/data.py                 # 1 GB
    python bench/data.py --rows 50000    # a short run
    python bench/data.py --sizes 1,4     # memory and speed of ours at 1 GB and at 4 GB
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

GB = 10**9
SEED = 7
ANSWER_CHARACTERS = (100, 2300)
# Where nearly all is ASCII, text that is not would go unmeasured: about every 20th row has some.
OTHER = (
    "Die Größe der Lücke hängt von der Füllung ab; „genau“ heißt hier: auf ein Byte.",
    "L'élève répète la réponse « à voix haute », puis il l'écrit.",
    "Функция возвращает список всех потоков, которые сейчас работают.",
    "この関数は現在実行中のすべてのスレッドのリストを返します。",
    "ملف البيانات يحتوي على صف واحد في كل سطر.",
    "It works \N{RIGHTWARDS ARROW} ship it \N{ROCKET} and then \N{LEFT DOUBLE QUOTATION MARK}rest.",
)
DIGEST = 16  # bytes per distinct row in the set of digests: bench/dedupe.py measures them
CHECKED = 100  # rows that the component looks at
LOOK_SECONDS = 0.1  # between two looks at the memory of processes that a side starts
ROLES = {"system", "user", "assistant", "tool"}


def sentences() -> list[str]:
    """What rows are made of, in a fixed order."""
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "docs").rglob("*.md"))]
    texts += [path.read_text("utf-8") for path in sorted(ROOT.glob("*.md"))]
    for path in sorted((ROOT / "examples").rglob("*.jsonl")):
        for line in path.open("rb"):
            texts += [turn["content"] for turn in orjson.loads(line)["messages"]]
    found = {part.strip() for text in texts for part in re.split(r"(?<=[.?!:])\s+|\n\n", text)}
    return sorted(part for part in found if 20 <= len(part) <= 400) + list(OTHER)


def chats() -> Iterator[dict[str, Any]]:
    """Rows without end; the same ones in every run over the same sentences."""
    rng, pool = random.Random(SEED), sentences()
    earlier: deque[dict[str, Any]] = deque(maxlen=1000)
    for number in range(sys.maxsize):
        kind = rng.random()
        if earlier and kind < 0.02:
            yield rng.choice(earlier)
            continue
        if earlier and kind < 0.04:
            chat = near(rng.choice(earlier), number)
        else:
            chat = fresh(rng, pool, number)
        earlier.append(chat)
        yield chat


def fresh(rng: random.Random, pool: list[str], number: int) -> dict[str, Any]:
    """A chat of one or two questions; every tenth has a system turn."""
    turns = [{"role": "system", "content": rng.choice(pool)}] if rng.random() < 0.1 else []
    for _ in range(rng.choice((1, 1, 1, 2))):
        answer, length = [f"({number})"], 0
        wanted = rng.uniform(*ANSWER_CHARACTERS)
        while length < wanted:
            answer.append(rng.choice(pool))
            length += len(answer[-1])
        question = " ".join(rng.choices(pool, k=2))
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": rng.choice((" ", "\n\n")).join(answer)})
    return {"messages": turns}


def near(chat: dict[str, Any], number: int) -> dict[str, Any]:
    """The chat with some words more at its end."""
    *before, last = chat["messages"]
    return {"messages": [*before, {**last, "content": f"{last['content']} And {number} more."}]}


def generate(path: Path, rows: int | None, size: int) -> tuple[int, int]:
    """Write the file; its rows and bytes."""
    written = count = 0
    with path.open("wb", buffering=1024 * 1024) as file:
        for chat in islice(chats(), rows):
            line = json.dumps(chat, ensure_ascii=False).encode() + b"\n"
            file.write(line)
            written += len(line)
            count += 1
            if rows is None and written >= size:
                break
    return count, written


def begin() -> float:
    """Now; what a side has imported does not count, nor do the threads that it started.

    Those of numpy's BLAS have nothing to do and spin for some time, on cores that others need.
    """
    time.sleep(0.5)
    return time.perf_counter()


def ours(path: Path, scratch: Path) -> dict[str, Any]:
    from ft_assets.data.ingest import ROWS_FILE, ingest
    from ft_assets.data.split import split

    began = begin()
    report = ingest([(path.name, path)], scratch / "raw", on_bad_rows="fail", max_bad_rows=None)
    ingested = time.perf_counter()
    made = split(
        scratch / "raw" / ROWS_FILE,
        scratch / "split",
        ratio=0.9,
        seed=1,
        subset=0,
        near_duplicates=0,
    )
    return {
        "rows": report.rows_read,
        "seconds": time.perf_counter() - began,
        "ingest_seconds": round(ingested - began, 2),
        "train_rows": made.train_rows,
        "held_out_rows": made.held_out_rows,
    }


def ingest_only(path: Path, scratch: Path) -> dict[str, Any]:
    from ft_assets.data.ingest import ingest

    began = begin()
    report = ingest([(path.name, path)], scratch / "raw", on_bad_rows="fail", max_bad_rows=None)
    return {"rows": report.rows_read, "seconds": time.perf_counter() - began}


def component(path: Path, scratch: Path) -> dict[str, Any]:
    """Kubeflow's component: 100 rows are looked at, none is dropped, all is written twice."""
    loaded = load(path, scratch)
    began = loaded.began
    rows = loaded.rows.select_columns(["messages"])
    for row in rows.select(range(min(CHECKED, len(rows)))):
        if not all({"role", "content"} <= turn.keys() for turn in row["messages"]):
            raise ValueError("a row is no chat")
    sides = rows.train_test_split(test_size=0.1, seed=1)
    for place in ("artifact", "volume"):  # it keeps both sides twice
        for name in ("train", "test"):
            sides[name].to_json(scratch / f"{place}-{name}.jsonl")
    return {"rows": len(rows), "seconds": time.perf_counter() - began}


def datasets_same_work(path: Path, scratch: Path) -> dict[str, Any]:
    """What ours does, through `datasets`: all rows are looked at, duplicates dropped."""
    loaded = load(path, scratch)
    began = loaded.began
    read = len(loaded.rows)
    in_memory = {"batched": True, "keep_in_memory": True, "load_from_cache_file": False}
    rows = loaded.rows.filter(are_valid, input_columns="messages", **in_memory)
    if len(rows) != read:
        raise ValueError("a row is not valid")
    rows = rows.map(with_ids, input_columns="messages", **in_memory)
    seen: set[str] = set()
    rows = rows.filter(
        lambda ids: [is_new(id_, seen) for id_ in ids], input_columns="id", **in_memory
    )
    train = rows.filter(lambda ids: [in_train(id_) for id_ in ids], input_columns="id", **in_memory)
    test = rows.filter(
        lambda ids: [not in_train(id_) for id_ in ids], input_columns="id", **in_memory
    )
    train.to_json(scratch / "train.jsonl")
    test.to_json(scratch / "held_out.jsonl")
    return {
        "rows": read,
        "seconds": time.perf_counter() - began,
        "train_rows": len(train),
        "held_out_rows": len(test),
    }


class Loaded(NamedTuple):
    rows: Any
    began: float


def load(path: Path, scratch: Path) -> Loaded:
    """As the component does."""
    import datasets

    datasets.disable_progress_bars()
    began = begin()
    cache = str(scratch / "cache")
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
    return Loaded(rows, began)


def are_valid(chats: list[list[dict[str, Any]]]) -> list[bool]:
    return [is_valid(chat) for chat in chats]


def is_valid(chat: list[dict[str, Any]]) -> bool:
    """What ours asks of a plain chat."""
    answers = 0
    for place, turn in enumerate(chat):
        role, content = turn["role"], turn["content"]
        if role not in ROLES or not isinstance(content, str) or "\0" in content:
            return False
        if role == "system" and place:
            return False
        if role == "assistant":
            if not content or content.isspace():
                return False
            answers += 1
    return answers > 0


def with_ids(chats: list[list[dict[str, Any]]]) -> dict[str, list[str]]:
    lines = (json.dumps(c, sort_keys=True, ensure_ascii=False).encode() for c in chats)
    return {"id": [hashlib.sha256(line).hexdigest() for line in lines]}


def is_new(id_: str, seen: set[str]) -> bool:
    new = id_ not in seen
    seen.add(id_)
    return new


def in_train(id_: str) -> bool:
    return int(id_[:16], 16) < 0.9 * 2**64


def parse_orjson(path: Path, _: Path) -> dict[str, Any]:
    return parse(path, orjson.loads)


def parse_msgspec(path: Path, _: Path) -> dict[str, Any]:
    import msgspec

    from ft_assets.data.fast_rows import PlainChat

    return parse(path, msgspec.json.Decoder(PlainChat).decode)


def parse(path: Path, decode: Callable[[bytes], object]) -> dict[str, Any]:
    began = begin()
    rows = 0
    with path.open("rb", buffering=1024 * 1024) as file:
        for line in file:
            decode(line)
            rows += 1
    return {"rows": rows, "seconds": time.perf_counter() - began}


SIDES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "ours": ours,
    "ingest": ingest_only,
    "datasets": datasets_same_work,
    "component": component,
    "orjson": parse_orjson,
    "msgspec": parse_msgspec,
}


def peak_mib(process: int | str = "self") -> float:
    """The most memory that a process has held, in MiB.

    getrusage would start at what the parent process held when it made this one.
    """
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for; tells a busy machine from slow work."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(time.process_time() + children.ru_utime + children.ru_stime, 2)


def apart(side: str, path: Path) -> dict[str, Any]:
    """One side in a process of its own."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        command = [sys.executable, __file__, "--side", side, str(path), scratch]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            below = peaks_below(process)
            shown = process.stdout.read() if process.stdout else ""
        if process.returncode:
            raise RuntimeError(f"{side} ended with code {process.returncode}")
    result: dict[str, Any] = json.loads(shown.splitlines()[-1])
    result["peak_mib"] = round(result["peak_mib"] + sum(below.values()), 1)
    result["processes"] = 1 + len(below)
    result["rows_per_second"] = round(result["rows"] / result["seconds"])
    print(json.dumps({"side": side, **result}), flush=True)
    return result


def peaks_below(process: subprocess.Popen[str]) -> dict[int, float]:
    """The peaks of all processes that a process starts until it ends, looked at often."""
    peaks: dict[int, float] = {}
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            for child in parent.children(recursive=True):
                peaks[child.pid] = max(peak_mib(child.pid), peaks.get(child.pid, 0.0))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError, IndexError):
            pass  # it ended meanwhile (a process that ended has no VmHWM)
        time.sleep(LOOK_SECONDS)
    return peaks


def first_rows(path: Path, rows: int) -> Path:
    """The first rows of a file as a file."""
    part = path.with_name("part.jsonl")
    with path.open("rb") as file, part.open("wb") as out:
        out.writelines(islice(file, rows))
    return part


def compared(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All sides on one file."""
    path = folder / "chats.jsonl"
    rows, size = generate(path, options.rows, int(options.gb * GB))
    rounds = [apart("ours", path) for _ in range(options.rounds)]
    mine = min(rounds, key=lambda result: result["seconds"])
    parsers = {side: apart(side, path)["rows_per_second"] for side in ("orjson", "msgspec")}
    part = first_rows(path, max(int(rows * options.datasets_share), 1))
    same, as_it_is = apart("datasets", part), apart("component", part)
    speed = mine["rows_per_second"]
    return {
        "rows_per_second": speed,
        "peak_mib": max(result["peak_mib"] for result in rounds),
        "ratio_to_datasets": round(speed / same["rows_per_second"], 1),
        "ratio_to_component": round(speed / as_it_is["rows_per_second"], 1),
        "ratio_to_parse": round(speed / max(parsers.values()), 3),
        "rows": rows,
        "gigabytes": round(size / GB, 3),
        "seconds": round(mine["seconds"], 2),
        "cpu_seconds": mine["cpu_seconds"],
        "ingest_seconds": mine["ingest_seconds"],
        "processes": mine["processes"],
        "parse_rows_per_second": parsers,
        "datasets_rows_per_second": same["rows_per_second"],
        "datasets_peak_mib": same["peak_mib"],
        "component_rows_per_second": as_it_is["rows_per_second"],
        "component_peak_mib": as_it_is["peak_mib"],
        "datasets_rows": same["rows"],
        "rounds": options.rounds,
    }


def memory(folder: Path, sizes: list[float]) -> dict[str, Any]:
    """Ours at several sizes."""
    found = {}
    for size in sizes:
        path = folder / "chats.jsonl"
        generate(path, None, int(size * GB))
        result = apart("ours", path)
        found[f"{size:g}"] = {key: result[key] for key in ("rows", "rows_per_second", "peak_mib")}
        distinct = result["train_rows"] + result["held_out_rows"]
        found[f"{size:g}"]["digests_mib"] = round(distinct * DIGEST / 2**20, 1)
    peaks = list(found.values())
    first, last = peaks[0], peaks[-1]
    growth = {key: round(last[key] - first[key], 1) for key in ("peak_mib", "digests_mib")}
    return {
        "gigabytes": found,
        "growth_mib": growth["peak_mib"],
        "growth_of_digests_mib": growth["digests_mib"],
        "growth_of_the_rest_mib": round(growth["peak_mib"] - growth["digests_mib"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--rows", type=int, help="so many rows instead of --gb")
    parser.add_argument("--sizes", help="GB, with commas: ours alone, at each size")
    parser.add_argument("--rounds", type=int, default=3, help="of ours; the best counts")
    parser.add_argument("--datasets-share", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "FILE", "SCRATCH"))
    options = parser.parse_args()
    if options.side:
        side, path, scratch = options.side
        result = SIDES[side](Path(path), Path(scratch))
        print(json.dumps({**result, "cpu_seconds": cpu_seconds(), "peak_mib": peak_mib()}))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.sizes:
            result = memory(Path(folder), [float(size) for size in options.sizes.split(",")])
        else:
            result = compared(Path(folder), options)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
