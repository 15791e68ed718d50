"""Unhealthy curves are found and named; healthy ones, short and noisy ones among them, are not."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training import health
from ft_assets.training.health import Finding, HealthMonitor, Planned, judge_run, must_stop
from ft_assets.training.metrics import StepMetrics

# The losses and gradient norms of a real run of the demo: 33 steps of 8 rows.
DEMO_LOSSES = (
    3.73, 3.49, 2.60, 3.63, 2.77, 2.64, 2.69, 2.87, 2.97, 2.66, 3.13, 2.50, 3.08, 2.55, 3.28, 2.70,
    2.99, 3.09, 2.60, 2.90, 2.86, 2.67, 3.08, 2.97, 2.59, 3.18, 2.71, 2.77, 2.48, 3.51, 2.98, 2.38,
    3.04,
)  # fmt: skip
DEMO_NORMS = (
    10.77, 9.68, 6.93, 6.28, 5.72, 5.50, 4.99, 5.56, 7.17, 6.14, 6.57, 7.21, 5.85, 4.98, 5.63, 6.45,
    6.78, 5.72, 5.96, 7.13, 6.03, 6.39, 8.14, 5.73, 6.16, 6.33, 5.34, 5.55, 6.24, 5.63, 5.16, 5.74,
    7.15,
)  # fmt: skip


def run(losses: Sequence[float], **columns: Any) -> Iterator[StepMetrics]:
    """A run with these losses; a column is one value for all steps, or a list of theirs."""
    total = len(losses)
    for index, loss in enumerate(losses):
        values = {
            "learning_rate": 1e-5 * (1 - index / total),
            "grad_norm": 1.0,
            "tokens_per_second": 100.0,
            "total_steps": total,
            **{n: c[index] if isinstance(c, Sequence) else c for n, c in columns.items()},
        }
        yield StepMetrics(step=index + 1, epoch=(index + 1) / total, loss=loss, **values)


def noisy(start: float, end: float, steps: int, noise: float = 0.1, seed: int = 0) -> list[float]:
    """A curve that falls (or not) like 1/e-ths, with relative noise."""
    rng = random.Random(seed)
    curve = (end + (start - end) * math.exp(-5 * step / steps) for step in range(steps))
    return [value * max(0.05, 1 + rng.gauss(0, noise)) for value in curve]


def judged(losses: Sequence[float], planned: Planned | None = None, **columns: Any) -> Any:
    found = judge_run(run(losses, **columns), planned or Planned())
    return {finding.code: finding for finding in found}


def stopped(steps: Iterator[StepMetrics]) -> tuple[int, Finding] | None:
    """Where the watchdog sees an error, if it does."""
    monitor = HealthMonitor(Planned())
    for metrics in steps:
        finding = monitor.observe(metrics)
        if finding is not None:
            return metrics.step, finding
    return None


# Healthy.


def test_nothing_is_found_in_the_demo():
    assert judged(DEMO_LOSSES, Planned(warmup_steps=2), grad_norm=DEMO_NORMS) == {}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("start", "end", "steps", "noise"),
    [(3.9, 3.0, 33, 0.11), (2.0, 0.4, 100, 0.25), (6.7, 0.3, 60, 0.1), (3.0, 2.8, 1500, 0.15)],
)
def test_no_false_alarm_on_a_noisy_run_that_learns(start, end, steps, noise, seed):
    losses = noisy(start, end, steps, noise, seed)
    warmup = round(0.07 * steps)
    assert judged(losses, Planned(warmup_steps=warmup)) == {}
    assert stopped(run(losses)) is None


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_a_run_of_a_few_steps_is_not_judged_by_its_trend(steps):
    assert judged([3.0] * steps) == {}


def test_a_run_without_a_step_is_not_judged():
    assert judge_run([], Planned(warmup_steps=5)) == []


def test_a_backend_that_says_little_is_not_judged_by_it():
    losses = noisy(3.0, 1.0, 50)
    nothing = {"grad_norm": None, "learning_rate": None, "tokens_per_second": None}
    assert judged(losses, **nothing) == {}


# Errors: the run cannot be trusted, and the watchdog sees it at once.


@pytest.mark.parametrize("name", ["loss", "grad_norm", "learning_rate", "held_out_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_an_error_at_its_step(name, value):
    losses = [3.0] * 6
    column = [None if name == "held_out_loss" else 1.0] * 6
    column[3] = value
    if name == "loss":
        losses, column = column, [1.0] * 6
        steps = list(run(losses))
    else:
        steps = list(run(losses, **{name: column}))
    found = stopped(iter(steps))
    assert found is not None
    step, finding = found
    assert (step, finding.step, finding.code, finding.severity) == (4, 4, "not_finite", "error")
    assert "at step 4" in finding.seen
    assert "training.learning_rate" in finding.remedy


def test_a_loss_of_zero_is_an_error_when_it_lasts():
    found = stopped(run([2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]))
    assert found is not None
    assert (found[0], found[1].step, found[1].code) == (6, 4, "zero_loss")
    assert "sample_packing" in found[1].remedy


def test_a_loss_that_fell_to_zero_is_that_of_rows_known_by_heart():
    falling = [3.0 * 0.7**step for step in range(60)]
    assert stopped(run(falling)) is None
    assert judged(falling)["memorised"].severity == "warning"


def test_a_loss_that_rises_to_twice_its_beginning_and_stays_has_diverged():
    losses = [*noisy(3.0, 2.5, 20), *noisy(9.0, 8.0, 20)]
    found = stopped(run(losses))
    assert found is not None
    assert found[1].code == "diverged"
    assert 20 < found[0] <= 30


def test_a_run_that_diverges_in_its_first_steps_is_found_too():
    found = stopped(run([2.1, 2.3, 5.0, *noisy(9.0, 8.0, 30)]))
    assert found is not None
    assert (found[0], found[1].code) == (10, "diverged")
    # Of the tiny model with a learning rate of 0.9.
    found = stopped(run([6.7, 6.0, 14.0, 16.3, 15.3, 15.9, 12.8, 13.5, 12.2, 13.5]))
    assert found is not None
    assert found[1].code == "diverged"
    found = stopped(run([2.1, 30.0, 20.0, *noisy(25.0, 18.0, 30)]))
    assert found is not None
    assert found[1].code == "diverged"


@pytest.mark.parametrize("seed", range(20))
def test_batches_of_one_row_differ_from_one_another_and_do_not_diverge(seed):
    losses = noisy(1.6, 1.4, 500, 0.5, seed)
    losses[:3] = [0.4, 0.5, 0.3]  # the first rows happen to be easy
    assert stopped(run(losses)) is None


def test_a_base_model_that_knows_nothing_and_learns_has_not_diverged():
    assert stopped(run(noisy(25.0, 9.0, 60))) is None


def test_a_single_bad_batch_is_no_divergence():
    losses = noisy(3.0, 2.0, 40)
    losses[25] = 12.0
    assert stopped(run(losses)) is None


def test_gradients_of_constantly_zero_are_an_error():
    found = stopped(run([3.0] * 20, grad_norm=0.0))
    assert found is not None
    assert (found[0], found[1].step, found[1].code) == (5, 1, "gradients_zero")
    assert "lora_target_modules" in found[1].remedy


def test_gradients_of_zero_are_an_error_in_the_shortest_run_too():
    assert judged([3.0, 3.0], grad_norm=0.0)["gradients_zero"].severity == "error"


def test_a_single_gradient_of_zero_is_none():
    assert judged(noisy(3.0, 1.0, 30), grad_norm=[1.0] * 10 + [0.0] + [1.0] * 19) == {}


def test_gradients_that_stay_above_a_hundred_are_an_error_when_the_loss_has_risen():
    norms = [1.0] * 10 + [500.0] * 20
    losses = [*noisy(3.0, 2.8, 10), *noisy(4.2, 4.4, 20)]
    found = stopped(run(losses, grad_norm=norms))
    assert found is not None
    assert (found[0], found[1].step, found[1].code) == (20, 11, "gradients_exploding")


def test_large_gradients_that_are_cut_while_the_loss_falls_are_a_warning():
    norms = [150.0 - n for n in range(40)]
    found = judged(noisy(9.0, 3.0, 40), grad_norm=norms)
    assert {code: finding.severity for code, finding in found.items()} == {
        "gradients_high": "warning"
    }


def test_a_learning_rate_of_zero_is_an_error():
    assert judged(noisy(3.0, 2.0, 20), learning_rate=0.0)["learning_rate_zero"].severity == "error"


# Warnings.


def test_single_gradients_above_a_hundred_are_a_warning():
    norms = [1.0] * 15 + [500.0, 120.0] + [1.0] * 13
    found = judged(noisy(3.0, 2.0, 30), grad_norm=norms)
    assert found.keys() == {"gradients_high"}
    finding = found["gradients_high"]
    assert (finding.severity, finding.step) == ("warning", 16)
    assert "2 of 30 steps" in finding.seen


@pytest.mark.parametrize("curve", [[2.0] * 40, noisy(2.0, 2.0, 900, 0.05), noisy(2.0, 2.6, 60)])
def test_a_loss_that_does_not_fall_is_a_warning(curve):
    finding = judged(curve)["not_decreasing"]
    assert finding.severity == "warning"
    assert "training.learning_rate" in finding.remedy
    assert "train_on_inputs" in finding.remedy


def test_a_jump_to_twice_the_loss_is_a_spike():
    losses = noisy(3.0, 1.0, 60, 0.05)
    losses[30], losses[40] = 4.0, 5.0
    finding = judged(losses)["spikes"]
    assert (finding.severity, finding.step) == ("warning", 41)
    assert "jumped 2 times" in finding.seen


def test_a_jump_of_a_loss_that_is_next_to_nothing_is_none():
    losses = [*noisy(2.0, 0.05, 60, 0.05), 0.02, 0.12, 0.02]
    assert "spikes" not in judged(losses)


def test_a_held_out_loss_that_rises_while_the_training_loss_falls_is_overfitting():
    losses = noisy(3.0, 0.5, 60, 0.03)
    held_out: list[float | None] = [None] * 60
    for step, loss in zip(range(9, 60, 10), [2.5, 2.1, 2.0, 2.2, 2.4, 2.6], strict=True):
        held_out[step] = loss
    found = judged(losses, held_out_loss=held_out)
    assert found.keys() == {"overfitting"}
    finding = found["overfitting"]
    assert (finding.severity, finding.step) == ("warning", 30)
    assert "checkpoint_choice: best" in finding.remedy


@pytest.mark.parametrize(
    "held_out", [[2.5, 2.2, 2.1, 2.0, 1.95, 1.94], [2.5, 2.1, 2.0, 2.2, 2.0, 1.9], [2.5, 2.51] * 3]
)
def test_a_held_out_loss_that_falls_or_only_wavers_is_no_overfitting(held_out):
    column: list[float | None] = [None] * 60
    column[9::10] = held_out
    assert judged(noisy(3.0, 0.5, 60, 0.03), held_out_loss=column) == {}


def test_a_loss_next_to_nothing_is_known_by_heart():
    found = judged([2.0 * 0.8**n + 0.001 for n in range(60)])
    assert found["memorised"].severity == "warning"
    assert "num_epochs" in found["memorised"].remedy


@pytest.mark.parametrize(
    ("scheduler", "found"), [("cosine", True), ("linear", True), ("constant", False)]
)
def test_a_level_learning_rate_is_a_warning_unless_the_schedule_is_a_constant_one(scheduler, found):
    planned = Planned(lr_scheduler=scheduler)
    codes = judged(noisy(3.0, 2.0, 40), planned, learning_rate=1e-5)
    assert ("learning_rate_flat" in codes) is found


def test_a_speed_below_a_third_of_the_best_is_a_warning():
    speeds = [100.0] * 30 + [25.0] * 30
    found = judged(noisy(3.0, 1.0, 60), tokens_per_second=speeds)
    assert found.keys() == {"throughput_collapse"}
    assert found["throughput_collapse"].severity == "warning"


def test_a_few_slow_steps_and_a_neighbour_that_takes_half_are_no_collapse():
    speeds = [100.0] * 20 + [5.0, 5.0] + [100.0] * 18 + [50.0] * 20
    assert judged(noisy(3.0, 1.0, 60), tokens_per_second=speeds) == {}


# Advice.


@pytest.mark.parametrize(
    ("warmup", "steps", "advised"),
    [
        (0, 33, False),
        (0, 200, True),
        (1, 200, True),
        (12, 200, False),
        (50, 200, True),
        (10, 33, True),
        (2, 33, False),
        (1, 3, False),
    ],
)
def test_a_warmup_of_5_to_10_percent_is_advised(warmup, steps, advised):
    found = judged(noisy(3.0, 1.0, steps, 0.02), Planned(warmup_steps=warmup))
    assert ("warmup_share" in found) is advised
    if advised:
        assert found["warmup_share"].severity == "advice"
        assert "training.warmup_steps" in found["warmup_share"].remedy


# All together.


def test_the_worst_comes_first():
    found = judge_run(run([2.0] * 200, grad_norm=[1.0] * 150 + [0.0] * 50), Planned())
    severities = [finding.severity for finding in found]
    assert severities[0] == "error"
    assert severities == sorted(severities, key=["error", "warning", "advice"].index)


def test_a_warning_stops_nothing():
    assert stopped(run([2.0] * 300, tokens_per_second=[100.0] * 100 + [1.0] * 200)) is None


@pytest.mark.parametrize(
    ("losses", "on_unhealthy", "stops"),
    [
        ([math.nan], "stop", True),
        ([math.nan], "warn", True),
        ([0.0] * 5, "stop", True),
        ([0.0] * 5, "warn", False),
        ([3.0] * 5, "stop", False),
    ],
)
def test_warn_lets_a_run_go_on_unless_a_number_is_not_finite(losses, on_unhealthy, stops):
    found = stopped(run(losses))
    assert must_stop(found and found[1], on_unhealthy) is stops


def test_the_plan_of_a_backend_without_a_scheduler_means_cosine():
    assert Planned.of({"warmup_steps": 3, "seed": 1}) == Planned(
        lr_scheduler="cosine", warmup_steps=3
    )


def test_memory_does_not_grow_with_the_steps():
    own_lines = tracemalloc.Filter(True, str(Path(health.__file__).with_name("*")))

    def held() -> int:
        """Bytes of the monitor's own lines: other threads of the tests' process allocate too."""
        seen = tracemalloc.take_snapshot().filter_traces([own_lines])
        return sum(statistic.size for statistic in seen.statistics("filename"))

    tracemalloc.start()
    monitor = HealthMonitor(Planned())
    step = StepMetrics(step=1, total_steps=9000, epoch=0, loss=2.0, learning_rate=1, grad_norm=1)

    def feed(count: int) -> None:
        for _ in range(count):
            monitor.observe(step)

    feed(400)
    before = held()
    feed(800)
    after = held()
    tracemalloc.stop()
    assert before > 0
    assert after - before < 2000
