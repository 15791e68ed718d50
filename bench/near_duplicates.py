"""Near duplicates with rensa, which the split uses, and with datasketch: rows/s and recall.

Both get the same sets of shingles, permutations and bands: the held-out rows go into the index,
each training row is looked up, and candidates are confirmed by their exact similarity. Every second
training row is a held-out row with some of its words changed, which is planted and so known. The
two take turns; the best round counts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

from datasketch import MinHash, MinHashLSH

sys.path.insert(0, str(Path(__file__).parent.parent))

from ft_assets.data.near_duplicates import (
    Grams,
    MinHashIndex,
    bands,
    min_hash,
    shingles,
    similarity,
)

PERMUTATIONS = 128


def planted(held_out: int, train: int, words: int) -> tuple[list[Grams], list[Grams], list[int]]:
    """Held-out rows, training rows, and which held-out row each was made from (-1: none)."""
    rng = random.Random(11)
    vocabulary = [f"word{n}" for n in range(20_000)]
    texts = [rng.choices(vocabulary, k=words) for _ in range(held_out)]
    rows, origins = [], []
    for number in range(train):
        origin = rng.randrange(held_out) if number % 2 else -1
        text = list(texts[origin]) if number % 2 else rng.choices(vocabulary, k=words)
        for _ in range(rng.randint(0, words // 12)):
            text[rng.randrange(words)] = rng.choice(vocabulary)
        rows.append(shingles(" ".join(text)))
        origins.append(origin)
    return [shingles(" ".join(text)) for text in texts], rows, origins


def with_rensa(held_out: list[Grams], train: list[Grams], threshold: float) -> list[bool]:
    index = MinHashIndex(threshold)
    for number, grams in enumerate(held_out):
        index.add(min_hash(grams), number)
    return [
        any(
            similarity(grams, held_out[number]) >= threshold
            for number in index.candidates(min_hash(grams))
        )
        for grams in train
    ]


def with_datasketch(held_out: list[Grams], train: list[Grams], threshold: float) -> list[bool]:
    count = bands(threshold)
    index = MinHashLSH(num_perm=PERMUTATIONS, params=(count, PERMUTATIONS // count))
    for number, grams in enumerate(held_out):
        index.insert(number, sketch(grams))
    return [
        any(
            similarity(grams, held_out[number]) >= threshold
            for number in index.query(sketch(grams))
        )
        for grams in train
    ]


def sketch(grams: Grams) -> MinHash:
    minhash = MinHash(num_perm=PERMUTATIONS)
    minhash.update_batch([gram.encode() for gram in grams])
    return minhash


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    held_out, train, origins = planted(options.held_out, options.train, options.words)
    near = [
        origin >= 0 and similarity(grams, held_out[origin]) >= options.threshold
        for grams, origin in zip(train, origins, strict=True)
    ]
    result: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for name, search in (("rensa", with_rensa), ("datasketch", with_datasketch)):
            began = time.perf_counter()
            found = search(held_out, train, options.threshold)
            speed = (len(held_out) + len(train)) / (time.perf_counter() - began)
            hits = sum(one and other for one, other in zip(found, near, strict=True))
            result[name] = {
                "rows_per_second": max(
                    round(speed), result.get(name, {}).get("rows_per_second", 0)
                ),
                "recall": round(hits / sum(near), 4),
                "precision": round(hits / sum(found), 4),
            }
    ratio = result["rensa"]["rows_per_second"] / result["datasketch"]["rows_per_second"]
    about = {"planted_near": sum(near), "words": options.words, "threshold": options.threshold}
    print(
        json.dumps({**result, "ratio": round(ratio, 2), **about, "bands": bands(options.threshold)})
    )


if __name__ == "__main__":
    main()
