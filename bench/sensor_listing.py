"""What one tick of a sensor lists of a growing S3 prefix: ours beside dagster-aws's listing.

Ours is ``Sources.drops_after`` twice, as the sensor asks: the page behind the newest drop that it
knows, and one page of the sweep through all drops. Theirs is ``dagster_aws.s3.sensor.get_s3_keys``
with ``since_key``, which lists the whole prefix and sorts it. Both find the same new objects behind
the same known one, in one process, with one boto3 client each, in turn, at two sizes of the prefix.

The objects are empty, since a listing is the same whatever they hold, and lie on SeaweedFS on the
same machine; putting a million there takes most of the time. Prints one JSON object: medians in
milliseconds; ``ratio`` is theirs to ours, ``growth`` is the larger prefix to the smaller.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import threading
import time
import warnings
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

BUCKET = "bench"
SIDES = ("ours", "dagster_aws")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000, help="of the larger prefix")
    parser.add_argument("--small", type=int, default=20_000, help="of the smaller prefix")
    parser.add_argument("--new", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=16, help="that put objects")
    arguments = parser.parse_args()
    from tests.support.seaweedfs import seaweedfs

    with seaweedfs() as server:
        os.environ |= server.environment
        client = _client(server.endpoint_url)
        client.create_bucket(Bucket=BUCKET)
        sizes = (arguments.small, arguments.objects)
        taken = {
            size: _at_size(server, client, size, arguments)
            for size in sizes  # the smaller first
        }
    print(json.dumps(_summary(taken, arguments)))


def _at_size(server, client, size: int, arguments) -> dict[str, list[float]]:
    """Milliseconds of each side's listing of a prefix with so many objects."""
    began = time.monotonic()
    _put_all(server, [_key(size, number) for number in range(size - 1)], arguments.threads)
    time.sleep(1.1)  # LastModified has whole seconds, and dagster-aws sorts by it
    known = _key(size, size - 1)
    _put_all(server, [known], 1)
    time.sleep(1.1)
    new = [_key(size, size + number) for number in range(arguments.new)]
    _put_all(server, new, 1)
    print(f"{size} objects put in {time.monotonic() - began:.0f} s", flush=True)
    sides = {
        "ours": _ours(server.endpoint_url, size, known, len(new)),
        "dagster_aws": _dagster_aws(client, size, known, new),
    }
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    if size == arguments.small:  # connect, and load what is loaded late
        for side in SIDES:
            sides[side]()
    for number in range(arguments.rounds):
        for side in SIDES:
            milliseconds = _timed(sides[side])
            taken[side].append(milliseconds)
            print(f"{number + 1}: {size} {side} {milliseconds:.1f} ms", flush=True)
    return taken


def _ours(endpoint: str, size: int, known: str, new: int):
    from resources.sources import Sources

    sources = Sources(data_roots=[], s3_endpoint_url=endpoint)
    uri = f"s3://{BUCKET}/{size}/{{partition}}.jsonl"

    def look() -> None:
        page = sources.drops_after(uri, known)
        assert len(page.drops) == new
        assert page.end
        swept = sources.drops_after(uri, _key(size, size // 2))
        assert len(swept.drops) == min(1000, size - size // 2 - 1 + new)

    return look


def _dagster_aws(client, size: int, known: str, new: list[str]):
    from dagster_aws.s3.sensor import get_s3_keys

    def look() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated in favour of get_objects, which it calls
            keys = get_s3_keys(BUCKET, prefix=f"{size}/", since_key=known, s3_session=client)
        assert sorted(keys) == new

    return look


def _timed(look) -> float:
    began = time.perf_counter()
    look()
    return (time.perf_counter() - began) * 1000


def _key(size: int, number: int) -> str:
    return f"{size}/drop-{number:08}.jsonl"


def _client(endpoint: str):
    import boto3

    return boto3.session.Session().client("s3", endpoint_url=endpoint)


def _put_all(server, keys: list[str], threads: int) -> None:
    """Put empty objects, over connections that are kept: boto3 takes longer for itself."""
    left = iter(keys)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            connection = http.client.HTTPConnection(urlsplit(server.endpoint_url).netloc)
            while not failures:
                with lock:
                    key = next(left, None)
                if key is None:
                    return
                _put(connection, server, key)
        except BaseException as error:  # raised again below
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]


def _put(connection: http.client.HTTPConnection, server, key: str) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = f"{server.endpoint_url}/{BUCKET}/{key}"
    request = AWSRequest("PUT", url, data=b"", headers={"Content-Length": "0"})
    credentials = Credentials(server.access_key, server.secret_key)
    S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    connection.request("PUT", f"/{BUCKET}/{key}", body=b"", headers=dict(request.headers))
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{key}: the server answered {answer.status}")


def _summary(taken: dict[int, dict[str, list[float]]], arguments) -> dict[str, object]:
    medians = {
        size: {side: statistics.median(runs) for side, runs in sides.items()}
        for size, sides in taken.items()
    }
    small, large = medians[arguments.small], medians[arguments.objects]
    return {
        "objects": arguments.objects,
        "small": arguments.small,
        "new": arguments.new,
        "rounds": arguments.rounds,
        "ours_ms": round(large["ours"], 1),
        "ours_ms_small": round(small["ours"], 1),
        "dagster_aws_ms": round(large["dagster_aws"], 1),
        "dagster_aws_ms_small": round(small["dagster_aws"], 1),
        "ratio": round(large["dagster_aws"] / large["ours"], 1),
        "ratio_small": round(small["dagster_aws"] / small["ours"], 1),
        "growth_ours": round(large["ours"] / small["ours"], 2),
        "growth_dagster_aws": round(large["dagster_aws"] / small["dagster_aws"], 2),
    }


if __name__ == "__main__":
    main()
