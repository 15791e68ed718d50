"""How often the court errs: false promotions of equal candidates, and its power, by simulation.

Each trial makes the samples of two models, or of a base model, a champion and a candidate, and asks
the tests that ``ft_assets.court`` asks. A row of the held-out split has as many tokens as answers
have (log-normal lengths) and a gain per token that is heavy-tailed (Student's t with 3 degrees of
freedom) and common to the row, so that its tokens are not independent; the longer the row, the less
it varies. Right-or-wrong tasks have documents on which the two models disagree at random. A
candidate is equal when its true gain is zero, though its samples differ. The court and the plain
comparison (the better number wins) see the same samples. Prints one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from ft_assets.court.correction import holm
from ft_assets.court.paired_tests import TestResult, paired_bootstrap, right_or_wrong

LEVEL = 0.05
DRAWS = 499
SPREAD = 0.25
"""Nats per token, the scale of what a row gains by chance between two models."""
SHIFT = 0.05
"""Nats per token that a candidate better than the base gains in the trial with a champion."""
DISAGREE = 0.15
"""Share of documents that one of two equal models answers right and the other wrong."""
MARGIN = 0.03
SIZES = (30, 100, 300, 1000)


def losses(rng: np.random.Generator, rows: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Per row, the nats that the candidate gains and the tokens."""
    tokens = np.maximum(1.0, np.round(np.exp(rng.normal(4.0, 1.0, rows))))
    return (gain + row_noise(rng, tokens)) * tokens, tokens


def row_noise(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
    """Per row, the nats per token that one of two equal models gains by chance."""
    return SPREAD * rng.standard_t(3, len(tokens)) / np.sqrt(1 + tokens / 60)


def sparse_scores(
    rng: np.random.Generator, rows: int, gain: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores such as ROUGE-L: most answers are the same, few differ by much."""
    differ = rng.random(rows) < 0.2
    noise = np.where(differ, rng.uniform(-1, 1, rows), 0.0)
    return np.clip(noise + gain * differ / 0.2, -1, 1), np.ones(rows)


def skewed_losses(
    rng: np.random.Generator, rows: int, gain: float
) -> tuple[np.ndarray, np.ndarray]:
    """A candidate that gains a little on most rows and loses much on a few."""
    tokens = np.maximum(1.0, np.round(np.exp(rng.normal(4.0, 1.0, rows))))
    noise = SPREAD * (1 - rng.exponential(1.0, rows)) / np.sqrt(1 + tokens / 60)
    return (gain + noise) * tokens, tokens


MAKERS = {"loss": losses, "skewed_loss": skewed_losses, "score": sparse_scores}


def boot(rng: np.random.Generator, kind: str, rows: int, gain: float) -> tuple[TestResult, bool]:
    """The court's test, and whether the candidate is better by the plain number."""
    gains, weights = MAKERS[kind](rng, rows, gain)
    seed = [int(rng.integers(2**31))]
    result = paired_bootstrap(gains, weights, margin=0.0, level=LEVEL, draws=DRAWS, seed=seed)
    return result, result.gain > 0


def answers(
    rng: np.random.Generator, documents: int, gain: float, margin: float
) -> tuple[TestResult, bool]:
    won = rng.random(documents) < (DISAGREE + gain) / 2
    lost = ~won & (rng.random(documents) < (DISAGREE - gain) / 2 / (1 - (DISAGREE + gain) / 2))
    right = rng.random(documents) < 0.6
    candidate = np.where(won, True, np.where(lost, False, right))
    other = np.where(won, False, np.where(lost, True, right))
    result = right_or_wrong(candidate, other, margin=margin, level=LEVEL)
    return result, result.gain > 0


def trial(
    rng: np.random.Generator, kind: str, size: int, gain: float, margin: float = 0.0
) -> tuple[TestResult, bool]:
    if kind == "right_or_wrong":
        return answers(rng, size, gain, margin)
    return boot(rng, kind, size, gain)


def shares(
    rng: np.random.Generator,
    trials: int,
    kind: str,
    size: int,
    gain: float,
    *,
    margin: float = 0.0,
) -> tuple[float, float]:
    """How many candidates the court promotes, and the plain comparison."""
    both = [trial(rng, kind, size, gain, margin) for _ in range(trials)]
    return (
        sum(result.p_value <= LEVEL for result, _ in both) / trials,
        sum(plain for _, plain in both) / trials,
    )


def with_champion(rng: np.random.Generator, trials: int, rows: int) -> dict[str, float]:
    """Candidates better than the base and exactly as good as the champion, with a guarded task.

    The candidate is compared with both on the same rows, and the task must not fall against
    either; promoted is who passes all, after Holm.
    """
    promoted = plain = 0
    for _ in range(trials):
        over_base, tokens = losses(rng, rows, SHIFT)
        champion_over_base = (SHIFT + row_noise(rng, tokens)) * tokens
        seed = [int(rng.integers(2**31))]
        results = [
            paired_bootstrap(gains, tokens, margin=0.0, level=LEVEL, draws=DRAWS, seed=seed)
            for gains in (over_base, over_base - champion_over_base)
        ]
        tasks = [answers(rng, 1000, 0.0, MARGIN)[0] for _ in range(2)]
        adjusted = holm([result.p_value for result in [*results, *tasks]])
        promoted += max(adjusted) <= LEVEL
        plain += all(result.gain > 0 for result in results)
    return {"court": promoted / trials, "plain": plain / trials}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trials",
        type=int,
        default=1000,
        help="per cell of the false promotions; a quarter at 1000 rows",
    )
    parser.add_argument("--power-trials", type=int, default=100, help="per cell of the power curve")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    false: dict[str, dict[str, dict[str, float]]] = {}
    for kind in (*MAKERS, "right_or_wrong"):
        false[kind] = {}
        for size in SIZES:
            trials = arguments.trials // (4 if size >= 1000 and kind != "right_or_wrong" else 1)
            court, plain = shares(rng, trials, kind, size, 0.0)
            false[kind][str(size)] = {"court": round(court, 4), "plain": round(plain, 4)}
        print(kind, false[kind], f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    at_margin = {
        str(size): round(
            shares(rng, arguments.trials, "right_or_wrong", size, -MARGIN, margin=MARGIN)[0], 4
        )
        for size in (100, 300, 1000, 3000)
    }
    champion = with_champion(rng, arguments.trials // 2, 300)
    print("champion", champion, f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    power: dict[str, dict[str, dict[str, float]]] = {}
    for kind, gains in {
        "loss": (0.01, 0.02, 0.05, 0.1, 0.2),
        "right_or_wrong": (0.01, 0.02, 0.05, 0.1),
    }.items():
        power[kind] = {
            str(size): {
                str(gain): round(shares(rng, arguments.power_trials, kind, size, gain)[0], 3)
                for gain in gains
            }
            for size in SIZES
        }
    guard = {
        str(size): round(
            shares(rng, arguments.power_trials, "right_or_wrong", size, 0.0, margin=MARGIN)[0], 3
        )
        for size in (100, 300, 1000, 3000)
    }
    worst = max(cell["court"] for cells in false.values() for cell in cells.values())
    result = {
        "false_promotion_worst": max(worst, champion["court"]),
        "false_promotion": false,
        "false_promotion_equal_to_champion": champion,
        "false_pass_of_a_fall_by_the_margin": at_margin,
        "power": power,
        "power_of_the_guard_if_nothing_fell": guard,
        "level": LEVEL,
        "margin": MARGIN,
        "trials": arguments.trials,
        "power_trials": arguments.power_trials,
        "draws": DRAWS,
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
