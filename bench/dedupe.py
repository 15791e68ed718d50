"""The set of exact duplicates: seconds, keys per second and memory at many random keys.

Each case is a process of its own: ft-assets' set with its bound, without one, and a Python set of
16-byte digests at a smaller number. A tenth of the keys repeat earlier ones. Memory is what the
case adds to an idle process: ``peak_mib`` all pages, ``anonymous_mib`` without the pages of mapped
files, which the system takes back when it needs them. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from ft_assets.data.digest_set import KEYS_IN_MEMORY, DigestSet

MIB = 1024 * 1024


def blocks(keys: int, block: int):
    """Random keys; every tenth block repeats the one that came nine before."""
    for number in range(keys // block):
        seed = number - 9 if number % 10 == 9 else number
        yield np.random.default_rng(seed).integers(0, 2**64, (block, 2), np.uint64)


def anonymous_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("RssAnon"))


def case(kind: str, keys: int, block: int, bound: int) -> dict[str, float]:
    next(blocks(block, block))
    idle, idle_anonymous = peak_kib(), anonymous_kib()
    seconds, new, anonymous = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        digests, seen = DigestSet(Path(folder), bound), set()
        for added in blocks(keys, block):
            began = time.perf_counter()
            if kind == "python":
                for key in map(bytes, added.view("V16").ravel()):
                    new += key not in seen
                    seen.add(key)
            else:
                new += int(digests.add(added).sum())
            seconds += time.perf_counter() - began
            anonymous = max(anonymous, anonymous_kib())
    expected = keys // block - keys // block // 10
    if new != expected * block:
        raise RuntimeError(f"{new} keys were found to be new, not {expected * block}")
    return {
        "keys": keys,
        "seconds": round(seconds, 2),
        "keys_per_second": round(keys / seconds),
        "peak_mib": round((peak_kib() - idle) / 1024),
        "anonymous_mib": round((anonymous - idle_anonymous) / 1024),
    }


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=20_000_000)
    parser.add_argument("--python-keys", type=int, default=2_000_000)
    parser.add_argument("--block", type=int, default=20_000, help="keys that are added at once")
    parser.add_argument("--case", choices=["bound", "no_bound", "python"])
    options = parser.parse_args()
    if options.case:
        bound = KEYS_IN_MEMORY if options.case == "bound" else sys.maxsize
        print(json.dumps(case(options.case, options.keys, options.block, bound)))
        return
    sizes = {"bound": options.keys, "no_bound": options.keys, "python": options.python_keys}
    result = {}
    for kind, keys in sizes.items():
        child = [sys.executable, __file__, "--case", kind]
        child += ["--keys", str(keys), "--block", str(options.block)]
        result[kind] = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE).stdout)
        print(kind, result[kind])
    bytes_per_key = {
        kind: round(case["anonymous_mib"] * MIB / (0.9 * case["keys"]), 1)
        for kind, case in result.items()
    }
    print(json.dumps({**result, "bytes_per_key": bytes_per_key, "keys_in_memory": KEYS_IN_MEMORY}))


if __name__ == "__main__":
    main()
