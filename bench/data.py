"""Rows per second of the data plane: validate every row, drop exact duplicates, hash split, write.

Ours is `ingest` and `split` without the search for near duplicates, in one process. Beside it stand
the parser's own limit, and the way through `datasets` that Kubeflow's component takes: load, select
the columns, look at the first 100 rows, split at random, write both sides, once as an artifact and
once to the volume. That way validates 100 rows and drops nothing.

Each side runs in a process of its own, in turn, on the same file, which is made for the run from
the sentences of this repository's documents and examples by a seeded generator (2 % of its rows are
equal and 2 % nearly equal to an earlier one). Prints one JSON object as its last line.

    python bench/data.py                 # 1 GB
    python bench/data.py --rows 50000    # a short run
    python bench/data.py --sizes 1,4     # memory and speed of ours at 1 GB and at 4 GB
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

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
CHECKED = 100  # rows that the component looks at


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


def ours(path: Path, scratch: Path) -> dict[str, Any]:
    from ft_assets.data.ingest import ROWS_FILE, ingest
    from ft_assets.data.split import split

    began = time.perf_counter()
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

    began = time.perf_counter()
    report = ingest([(path.name, path)], scratch / "raw", on_bad_rows="fail", max_bad_rows=None)
    return {"rows": report.rows_read, "seconds": time.perf_counter() - began}


def through_datasets(path: Path, scratch: Path) -> dict[str, Any]:
    import datasets

    datasets.disable_progress_bars()
    began = time.perf_counter()
    loaded = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(scratch / "cache")
    )
    loaded = loaded.select_columns(["messages"])
    for row in loaded.select(range(min(CHECKED, len(loaded)))):
        if not all({"role", "content"} <= turn.keys() for turn in row["messages"]):
            raise ValueError("a row is no chat")
    sides = loaded.train_test_split(test_size=0.1, seed=1)
    for place in ("artifact", "volume"):  # it keeps both sides twice
        for name in ("train", "test"):
            sides[name].to_json(scratch / f"{place}-{name}.jsonl")
    return {"rows": len(loaded), "seconds": time.perf_counter() - began}


def parse_orjson(path: Path, _: Path) -> dict[str, Any]:
    return parse(path, orjson.loads)


def parse_msgspec(path: Path, _: Path) -> dict[str, Any]:
    import msgspec

    from ft_assets.data.fast_rows import PlainChat

    return parse(path, msgspec.json.Decoder(PlainChat).decode)


def parse(path: Path, decode: Callable[[bytes], object]) -> dict[str, Any]:
    began = time.perf_counter()
    rows = 0
    with path.open("rb", buffering=1024 * 1024) as file:
        for line in file:
            decode(line)
            rows += 1
    return {"rows": rows, "seconds": time.perf_counter() - began}


SIDES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "ours": ours,
    "ingest": ingest_only,
    "datasets": through_datasets,
    "orjson": parse_orjson,
    "msgspec": parse_msgspec,
}


def peak_mib() -> float:
    """The most memory that this process has held, in MiB.

    getrusage would start at what the parent process held when it made this one.
    """
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def apart(side: str, path: Path) -> dict[str, Any]:
    """One side in a process of its own."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        command = [sys.executable, __file__, "--side", side, str(path), scratch]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    result["rows_per_second"] = round(result["rows"] / result["seconds"])
    print(json.dumps({"side": side, **result}), flush=True)
    return result


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
    theirs = apart("datasets", first_rows(path, max(int(rows * options.datasets_share), 1)))
    speed = mine["rows_per_second"]
    return {
        "rows_per_second": speed,
        "peak_mib": max(result["peak_mib"] for result in rounds),
        "ratio_to_datasets": round(speed / theirs["rows_per_second"], 1),
        "ratio_to_parse": round(speed / max(parsers.values()), 3),
        "rows": rows,
        "gigabytes": round(size / GB, 3),
        "seconds": round(mine["seconds"], 2),
        "cpu_seconds": mine["cpu_seconds"],
        "ingest_seconds": mine["ingest_seconds"],
        "parse_rows_per_second": parsers,
        "datasets_rows_per_second": theirs["rows_per_second"],
        "datasets_peak_mib": theirs["peak_mib"],
        "datasets_rows": theirs["rows"],
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
    peaks = [result["peak_mib"] for result in found.values()]
    return {"gigabytes": found, "growth_mib": round(peaks[-1] - peaks[0], 1)}


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
        cpu = round(time.process_time(), 2)  # tells a busy machine from slow work
        print(json.dumps({**result, "cpu_seconds": cpu, "peak_mib": round(peak_mib(), 1)}))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.sizes:
            result = memory(Path(folder), [float(size) for size in options.sizes.split(",")])
        else:
            result = compared(Path(folder), options)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
