"""S3 in and out, ours beside boto3's TransferManager with its defaults, against SeaweedFS.

In: ``resources.sources.s3.fetch`` of one object, with its SHA-256, and ``client.download_file``,
which computes none. Out: the store's upload of the same file and ``client.upload_file``, which do
the same work; and, to see what the rest costs, a whole publication in an artifact store, which also
hashes the file, makes it durable on the disk and writes the manifest.

Each measurement is a process of its own, the sides take turns, and the server runs beside them on
the same machine. All sides import the same modules, so that their peak memory, the largest resident
set, differs by the transfer alone. Prints one JSON object with medians; a ratio of rates above 1 is
in favour of ours, one of memory below 1.
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
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

BUCKET, KEY = "bench", "rows.jsonl"
SIDES = ("download_ours", "download_boto3", "upload_ours", "upload_boto3", "publish_ours")
_MEGABYTE = 1_000_000


def measure(side: str, endpoint: str, file: Path, scratch: Path) -> tuple[float, float, float]:
    """Seconds of one transfer here, the peak memory in MiB, and seconds of processor time."""
    import resources.sources.s3
    import resources.store.s3  # noqa: F401 - both, so that every side holds the same modules

    action = {
        "download_ours": _download_ours,
        "download_boto3": _download_boto3,
        "upload_ours": _upload_ours,
        "upload_boto3": _upload_boto3,
        "publish_ours": _publish_ours,
    }[side](endpoint, file, scratch)
    began, used = time.monotonic(), time.process_time()
    action()
    return time.monotonic() - began, _peak_mib(), time.process_time() - used


def _peak_mib() -> float:
    """Of this program: getrusage would count the parent's memory from before exec as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _download_ours(endpoint, _file, scratch):
    from resources.sources import s3
    from resources.sources.files import SizeLimit
    from resources.sources.uri import S3Uri

    client = s3.connect(endpoint)
    client.head_object(Bucket=BUCKET, Key=KEY)  # what both sides load and connect at first
    return lambda: s3.fetch(client, S3Uri(BUCKET, KEY), scratch, SizeLimit(0))


def _download_boto3(endpoint, _file, scratch):
    client = _boto3(endpoint)
    client.head_object(Bucket=BUCKET, Key=KEY)
    return lambda: client.download_file(BUCKET, KEY, str(scratch / "rows.jsonl"))


def _upload_ours(endpoint, file, scratch):
    from resources.store.manifest import sha256_of
    from resources.store.objects import Bucket

    sha256 = sha256_of(file)
    bucket = Bucket(BUCKET, endpoint, "")
    key = f"{scratch.name}/{file.name}"
    bucket.read("none")
    return lambda: bucket.upload(file, key, sha256)


def _upload_boto3(endpoint, file, scratch):
    client = _boto3(endpoint)
    client.list_objects_v2(Bucket=BUCKET, MaxKeys=1)
    return lambda: client.upload_file(str(file), BUCKET, f"{scratch.name}/{file.name}")


def _publish_ours(endpoint, file, scratch):
    from resources.store.s3 import S3Store

    store = S3Store(BUCKET, scratch.name, scratch / "cache", endpoint, "")
    copy = scratch / "take.jsonl"
    os.link(file, copy)
    store.find(["bench", "rows"], None)

    def publish() -> None:
        with store.publish(["bench", "rows"], None, {}) as draft:
            draft.take(copy, "rows.jsonl")

    return publish


def _boto3(endpoint):
    import boto3

    return boto3.session.Session().client("s3", endpoint_url=endpoint)


def _child(side: str, endpoint: str, file: Path, folder: Path) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        finished = subprocess.run(
            [sys.executable, __file__, "--side", side, endpoint, str(file), scratch],
            check=True,
            capture_output=True,
            text=True,
        )
    seconds, peak, cpu = json.loads(finished.stdout)
    _forget(endpoint)
    return seconds, peak, cpu


def _forget(endpoint: str) -> None:
    """Remove what was uploaded, so that the disk does not fill up over the rounds."""
    client = _boto3(endpoint)
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        if item["Key"] != KEY:
            client.delete_object(Bucket=BUCKET, Key=item["Key"])


def _write_rows(path: Path, megabytes: int) -> None:
    block = (
        b'{"messages":[{"role":"user","content":"' + os.urandom(256).hex().encode()
    ) + b'"}]}\n'
    with path.open("wb") as file:
        for _ in range(megabytes * _MEGABYTE // len(block)):
            file.write(block)


def _summary(taken: dict[str, list[tuple[float, float, float]]], size: int) -> dict[str, float]:
    rate = {
        side: statistics.median(size / seconds / _MEGABYTE for seconds, _, _ in runs)
        for side, runs in taken.items()
    }
    peak = {side: statistics.median(mib for _, mib, _ in runs) for side, runs in taken.items()}
    cpu = {side: statistics.median(used for _, _, used in runs) for side, runs in taken.items()}
    result: dict[str, float] = {}
    for way in ("download", "upload"):
        ours, boto3 = f"{way}_ours", f"{way}_boto3"
        result |= {
            f"{way}_mb_per_second_ours": round(rate[ours], 1),
            f"{way}_mb_per_second_boto3": round(rate[boto3], 1),
            f"{way}_ratio": round(rate[ours] / rate[boto3], 3),
            f"{way}_mib_peak_ours": round(peak[ours], 1),
            f"{way}_mib_peak_boto3": round(peak[boto3], 1),
            f"{way}_memory_ratio": round(peak[ours] / peak[boto3], 3),
            f"{way}_cpu_seconds_ours": round(cpu[ours], 2),
            f"{way}_cpu_seconds_boto3": round(cpu[boto3], 2),
        }
    return result | {
        "publish_mb_per_second_ours": round(rate["publish_ours"], 1),
        "publish_ratio": round(rate["publish_ours"] / rate["upload_boto3"], 3),
        "publish_mib_peak_ours": round(peak["publish_ours"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=SIDES, nargs="+", default=SIDES, help="for tuning")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, endpoint, file, scratch = arguments.side
        print(json.dumps(measure(side, endpoint, Path(file), Path(scratch))))
        return
    from tests.support.seaweedfs import seaweedfs

    taken: dict[str, list[tuple[float, float, float]]] = {side: [] for side in arguments.only}
    with seaweedfs() as server, tempfile.TemporaryDirectory() as folder:
        os.environ |= server.environment
        file = Path(folder) / KEY
        _write_rows(file, arguments.mb)
        client = _boto3(server.endpoint_url)
        client.create_bucket(Bucket=BUCKET)
        client.upload_file(str(file), BUCKET, KEY)
        size = file.stat().st_size
        for number in range(arguments.rounds):
            for side in arguments.only:
                seconds, peak, cpu = _child(side, server.endpoint_url, file, Path(folder))
                taken[side].append((seconds, peak, cpu))
                speed = size / seconds / _MEGABYTE
                print(f"{number + 1}: {side} {speed:.0f} MB/s, {peak:.0f} MiB, {cpu:.2f} s CPU")
    if set(arguments.only) == set(SIDES):
        result = {"mb": arguments.mb, "rounds": arguments.rounds, **_summary(taken, size)}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
