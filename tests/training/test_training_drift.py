"""A drop of the same kind is no drift, however few rows it has; another language is one."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from ft_assets.training.drift import BUCKETS, TokenShape, compare, shape_of


def drop(
    rows: int, *, seed: int, longer: float = 1.0, first_token: int = 0, tokens: int = 100
) -> TokenShape:
    """Rows of some 50 tokens of a Zipf-like vocabulary that begins at ``first_token``."""
    rng = random.Random(seed)
    lengths: Counter[int] = Counter()
    buckets = [0] * BUCKETS
    weights = [1 / (n + 1) for n in range(tokens)]
    for _ in range(rows):
        length = max(1, int(rng.gauss(50, 15) * longer))
        lengths[length] += 1
        for token in rng.choices(range(tokens), weights, k=length):
            buckets[(first_token + token) % BUCKETS] += 1
    return shape_of(lengths, buckets)


@pytest.mark.parametrize("rows", [5, 30, 300])
@pytest.mark.parametrize("seed", range(5))
def test_a_drop_of_the_same_kind_is_no_drift(rows, seed):
    drift = compare(drop(300, seed=100), drop(rows, seed=seed), "drop-1")
    assert not drift.is_other, drift


def test_rows_of_twice_the_length_are_a_drift():
    drift = compare(drop(300, seed=1), drop(300, seed=2, longer=2.0), "drop-1")
    assert drift.is_other
    assert drift.length_distance > 0.5
    assert drift.token_divergence < 0.05


def test_other_tokens_are_a_drift():
    drift = compare(drop(300, seed=1), drop(300, seed=2, first_token=60), "drop-1")
    assert drift.is_other
    assert drift.length_distance < 0.2


def test_a_drop_compared_with_itself_is_nothing_apart():
    one = drop(50, seed=3)
    drift = compare(one, one, "drop-1")
    assert (drift.length_distance, drift.token_divergence) == (0, 0)


def test_nothing_in_common_is_one():
    one = shape_of({10: 5}, [50] + [0] * (BUCKETS - 1))
    other = shape_of({90: 5}, [0] * (BUCKETS - 1) + [450])
    drift = compare(one, other, "drop-1")
    assert drift.length_distance == 1
    assert drift.token_divergence == pytest.approx(1)


def test_the_percentiles_are_those_of_the_rows():
    shape = shape_of(dict.fromkeys(range(1, 101), 1), [1] * BUCKETS)
    assert (shape.percentiles[0], shape.percentiles[50], shape.percentiles[100]) == (1, 50, 100)
