"""A model folder to and from a bucket: the store's transfer beside boto3's TransferManager.

The folder has 2 GB of random bytes in four shards, and small files as a model's folder has them.
Down: ``Bucket.download`` of each file, which also takes its BLAKE3, as the store's downloads do,
and ``client.download_file``, which takes none. Up: ``Bucket.upload`` and ``client.upload_file``,
with the digests known. Both sides begin with a client that is connected, and boto3's has its
defaults.

Each measurement is a process of its own, the sides take turns, and the server (SeaweedFS) runs
beside them on the same machine. All downloads come first: with uploads in between (``--mixed``)
both sides take more processor time for the same work, probably since a virtual machine gives its
free memory back to its host meanwhile and has to ask for it again. Peak memory is the largest
resident set of that process, all of Python and boto3 included. Prints one JSON object with medians
and the targets: ratios of rates above 1 are in favour of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.s3 import _boto3, _peak_mib  # noqa: E402 - needs the path

BUCKET, PREFIX = "bench", "model"
SIDES = ("down_ours", "down_boto3", "up_ours", "up_boto3")
TARGETS = {"down_ratio": 1.5, "up_ratio": 1.0, "mib_peak": 300}
_MEGABYTE = 1_000_000
_SHARDS = 4
_SMALL = ("config.json", "tokenizer.json", "generation_config.json")


def measure(side: str, endpoint: str, folder: Path, scratch: Path) -> list[float]:
    """Seconds of one transfer, the peak memory in MiB, and seconds of processor time."""
    import resources.store.s3  # noqa: F401 - so that every side holds the same modules

    way, _, who = side.partition("_")
    names = sorted(file.name for file in folder.iterdir())
    digests = json.loads((folder.parent / "digests.json").read_text())
    work = {"ours": _ours, "boto3": _with_boto3}[who](way, endpoint, folder, scratch, digests)
    began, used = time.monotonic(), time.process_time()
    for name in names:
        work(name)
    return [time.monotonic() - began, _peak_mib(), time.process_time() - used]


def _ours(way, endpoint, folder, scratch, digests):
    from blake3 import blake3

    from resources.store.objects import Bucket

    bucket = Bucket(BUCKET, endpoint, "")
    bucket.read("none")  # what both sides load and connect at first

    def up(name: str) -> None:
        bucket.upload(folder / name, f"{scratch.name}/{name}", digests[name][0])

    def down(name: str) -> None:
        arrived = bucket.download(f"{PREFIX}/{name}", scratch / name, blake3)
        assert arrived == digests[name][1]

    return up if way == "up" else down


def _with_boto3(way, endpoint, folder, scratch, _digests):
    client = _boto3(endpoint)
    client.list_objects_v2(Bucket=BUCKET, MaxKeys=1)

    def up(name: str) -> None:
        client.upload_file(str(folder / name), BUCKET, f"{scratch.name}/{name}")

    def down(name: str) -> None:
        client.download_file(BUCKET, f"{PREFIX}/{name}", str(scratch / name))

    return up if way == "up" else down


def _child(side: str, endpoint: str, folder: Path, place: Path) -> list[float]:
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        finished = subprocess.run(
            [sys.executable, __file__, "--side", side, endpoint, str(folder), scratch],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    _forget(endpoint)
    return json.loads(finished.stdout)


def _forget(endpoint: str) -> None:
    """Remove what was uploaded, so that the disk does not fill up over the rounds."""
    client = _boto3(endpoint)
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        if not item["Key"].startswith(f"{PREFIX}/"):
            client.delete_object(Bucket=BUCKET, Key=item["Key"])


def _write_model(folder: Path, megabytes: int) -> int:
    """Files of random bytes, and beside the folder their digests; the size of all."""
    from resources.store.file_digests import digests_of

    folder.mkdir()
    for number in range(_SHARDS):
        with (folder / f"model-{number + 1:05}-of-{_SHARDS:05}.safetensors").open("wb") as file:
            for _ in range(megabytes // _SHARDS):
                file.write(os.urandom(_MEGABYTE))
    for name in _SMALL:
        (folder / name).write_bytes(os.urandom(10_000))
    files = sorted(folder.iterdir())
    with ThreadPoolExecutor(2) as pool:
        digests = dict(zip((file.name for file in files), pool.map(digests_of, files), strict=True))
    (folder.parent / "digests.json").write_text(json.dumps(digests))
    return sum(file.stat().st_size for file in files)


def _turns(sides: Sequence[str], rounds: int, *, mixed: bool) -> Iterator[str]:
    """Who is next: the sides of one way in turn, then those of the other; or all in turn."""
    for ways in [("down", "up")] if mixed else [("down",), ("up",)]:
        turn = [side for side in sides if side.startswith(ways)]
        for number in range(rounds):
            # Who comes later finds warmer caches and disks: the order turns with each round.
            yield from turn[:: 1 if number % 2 == 0 else -1]


def _summary(taken: dict[str, list[list[float]]], size: int) -> dict[str, object]:
    def median(side: str, which: int) -> float:
        return statistics.median(run[which] for run in taken[side])

    result: dict[str, object] = {}
    for way in ("down", "up"):
        ours, theirs = f"{way}_ours", f"{way}_boto3"
        result[f"{way}_ratio"] = round(median(theirs, 0) / median(ours, 0), 3)
        for side in (ours, theirs):
            result[f"{side}_mb_per_second"] = round(size / median(side, 0) / _MEGABYTE, 1)
            result[f"{side}_mib_peak"] = round(max(run[1] for run in taken[side]), 1)
            result[f"{side}_cpu_seconds"] = round(median(side, 2), 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", action="store_true", help="uploads between the downloads")
    parser.add_argument("--only", choices=SIDES, nargs="+", default=SIDES, help="for tuning")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, endpoint, folder, scratch = arguments.side
        print(json.dumps(measure(side, endpoint, Path(folder), Path(scratch))))
        return
    from tests.support.seaweedfs import seaweedfs

    taken: dict[str, list[list[float]]] = {side: [] for side in arguments.only}
    with seaweedfs() as server, tempfile.TemporaryDirectory() as place:
        os.environ |= server.environment
        folder = Path(place) / PREFIX
        size = _write_model(folder, arguments.mb)
        client = _boto3(server.endpoint_url)
        client.create_bucket(Bucket=BUCKET)
        for file in folder.iterdir():
            client.upload_file(str(file), BUCKET, f"{PREFIX}/{file.name}")
        for side in _turns(arguments.only, arguments.rounds, mixed=arguments.mixed):
            os.sync()  # the last one's writes are not this one's to wait for
            run = _child(side, server.endpoint_url, folder, Path(place))
            taken[side].append(run)
            speed = size / run[0] / _MEGABYTE
            turn = f"{len(taken[side])}: {side}"
            figures = f"{speed:.0f} MB/s, {run[1]:.0f} MiB, {run[2]:.2f} s CPU"
            print(turn, figures, file=sys.stderr)
    if set(arguments.only) == set(SIDES):
        how = {"mb": arguments.mb, "rounds": arguments.rounds, "mixed": arguments.mixed}
        about = {**how, "targets": TARGETS}
        print(json.dumps({**about, **_summary(taken, size)}))


if __name__ == "__main__":
    main()
