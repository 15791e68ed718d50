"""The estimate as a whole: time, cost, verdict, remedies that help, and warnings."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ft_assets.training.estimate import (
    TrainingEstimate,
    estimate,
    estimate_beside_actual,
    remedies_for_out_of_memory,
)
from ft_assets.training.estimate.advice import guidance, warnings
from ft_assets.training.estimate.duration import MFU, flops_per_token
from ft_assets.training.estimate.rows import rows_of
from ft_assets.training.estimate.trained import trained_parameters
from ft_assets.training.outcome import TrainOutcome
from tests.training.estimate.conftest import kubernetes, token_report, training

GOOD: dict[str, Any] = {"learning_rate": 2e-5, "warmup_steps": 8}
ROWS = {200: 1000, 400: 600}


def planned(model, report=None, *, pod: dict[str, Any] | None = None, **parameters):
    return estimate(model, training(**{**GOOD, **parameters}), kubernetes(**(pod or {})), report)


def test_it_is_a_value_that_survives_json(qwen):
    made = planned(qwen, token_report(ROWS))
    assert TrainingEstimate.model_validate_json(made.model_dump_json()) == made


def test_steps_and_tokens_are_those_of_the_report(qwen):
    rows = planned(
        qwen, token_report(ROWS, rows_too_long=3), effective_batch_size=100, num_epochs=2
    ).rows
    assert rows is not None
    assert (rows.rows, rows.rows_dropped, rows.steps) == (1600, 3, 32)
    assert (rows.tokens, rows.trained_tokens) == (880_000, 440_000)


def test_without_a_report_nothing_is_said_of_rows_and_time(qwen):
    made = planned(qwen)
    assert made.rows is None
    assert made.duration is None
    assert made.memory.total > 0


def test_flops_are_six_per_parameter_that_is_multiplied_and_trained(qwen):
    trained = trained_parameters(qwen, training())
    norms_and_biases = 28 * (2 * 1536 + 2048) + 1536
    matrices = qwen.parameters - norms_and_biases
    assert flops_per_token(qwen, trained, attended=0, share=1.0) == 6 * matrices
    # Attention: queries times keys and weights times values, forward and twice backward.
    attention = flops_per_token(qwen, trained, attended=100, share=1.0) - 6 * matrices
    assert attention == 12 * 28 * 1536 * 100


def test_frozen_weights_cost_four(qwen):
    trained = trained_parameters(qwen, training(algorithm="lora_sft"))
    sft = trained_parameters(qwen, training())
    ratio = flops_per_token(qwen, trained, 0, 1.0) / flops_per_token(qwen, sft, 0, 1.0)
    assert 0.66 < ratio < 0.70


def test_hours_follow_from_the_assumed_speed_and_say_so(qwen):
    report = token_report(ROWS)
    made = planned(qwen, report, pod={"gpu_memory": "80Gi", "gpu_hour_price": 2.0})
    time = made.duration
    assert time is not None
    attended = rows_of(training(), report).attended
    flops = flops_per_token(qwen, made.trained, attended, 1.0)
    assert time.tokens_per_second == pytest.approx(312e12 * MFU["instructlab-training"] / flops)
    assert time.hours == pytest.approx(440_000 / time.tokens_per_second / 3600)
    assert time.cost == pytest.approx(2.0 * time.hours)
    assert time.speed_from.startswith("assumed: 40% of 312 TFLOP/s per GPU")


def test_more_gpus_take_less_time_and_as_many_gpu_hours(qwen):
    one = planned(qwen, token_report(ROWS)).duration
    four = planned(qwen, token_report(ROWS), pod={"gpus_per_worker": 4}).duration
    assert four.hours == pytest.approx(one.hours / 4)
    assert four.gpu_hours == pytest.approx(one.gpu_hours)


def test_processes_on_cpus_share_the_tokens_and_each_makes_every_step(qwen):
    """Of a step, the optimizer and what is around it; of the run, the first touch of its memory."""
    pod = {"gpus_per_worker": 0, "cpu": "4"}

    def seconds(workers: int, rows: dict[int, int]) -> float:
        report = token_report(rows)
        made = planned(qwen, report, backend="cpu", pod={**pod, "workers": workers}).duration
        assert made is not None
        return made.hours * 3600

    one, two = seconds(1, ROWS), seconds(2, ROWS)
    assert one / 2 < two < 0.6 * one
    # Twice the tokens in as many steps, on twice the processes, take as long as before.
    doubled = {2 * length: count for length, count in ROWS.items()}
    longer = seconds(2, doubled)
    assert longer > one  # attention looks back on twice as many
    assert longer == pytest.approx(one, rel=0.05)


def test_the_speed_on_cpus_says_how_many_processes_it_is_of(qwen):
    report, pod = token_report(ROWS), {"gpus_per_worker": 0, "cpu": "4"}
    alone = planned(qwen, report, backend="cpu", pod=pod).duration
    both = planned(qwen, report, backend="cpu", pod={**pod, "workers": 2}).duration
    assert alone.speed_from.endswith("GFLOP/s on 4 threads in bf16")
    assert both.speed_from == f"{alone.speed_from}, in each of 2 processes"


def test_a_measured_speed_goes_before_the_assumed_one(qwen):
    made = estimate(
        qwen, training(), kubernetes(), token_report(ROWS), measured_tokens_per_second=1000.0
    )
    assert made.duration.tokens_per_second == 1000.0
    assert made.duration.speed_from == "the run before"


def test_no_cost_without_a_price_or_a_gpu(qwen):
    report = token_report(ROWS)
    assert planned(qwen, report).duration.cost is None
    on_cpu = planned(qwen, report, backend="cpu", pod={"gpu_hour_price": 3.0}).duration
    assert (on_cpu.cost, on_cpu.gpu_hours) == (None, 0.0)


@pytest.mark.parametrize(
    ("gpu_memory", "verdict"), [("80Gi", "fits"), ("50Gi", "tight"), ("24Gi", "too_large")]
)
def test_the_verdict_compares_with_the_memory_there_is(qwen, gpu_memory, verdict):
    made = planned(qwen, pod={"gpu_memory": gpu_memory})
    assert made.verdict == verdict
    assert bool(made.remedies) == (verdict != "fits")


def applied(remedy: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a remedy says, as parameters."""
    said: dict[str, dict[str, Any]] = {"training": {}, "kubernetes": {}}
    remedy = remedy.replace(
        "training.max_seq_len and training.max_tokens_per_gpu to",
        "training.max_seq_len to {0} training.max_tokens_per_gpu to",
    )
    if "{0}" in remedy:
        remedy = remedy.replace("{0}", re.findall(r"max_tokens_per_gpu to (\d+)", remedy)[0])
    for block, name, value in re.findall(r"(training|kubernetes)\.(\w+) to (\w+)", remedy):
        said[block][name] = int(value) if value.isdigit() else value
    return said["training"], said["kubernetes"]


CASES = [
    {"pod": {"gpu_memory": "40Gi"}},
    {"pod": {"gpu_memory": "24Gi"}},
    {"pod": {"gpu_memory": "30Gi"}, "algorithm": "osft"},
    {"pod": {"gpu_memory": "24Gi"}, "algorithm": "lora_sft", "learning_rate": 2e-4},
    {"pod": {"memory": "40Gi", "gpus_per_worker": 0}, "backend": "cpu"},
    {"pod": {"gpu_memory": "24Gi", "gpus_per_worker": 2}, "max_seq_len": 1024},
]


@pytest.mark.parametrize("case", CASES)
def test_each_remedy_makes_the_run_fit(qwen, case):
    case = dict(case)
    pod = case.pop("pod")
    made = planned(qwen, pod=pod, **case)
    assert made.verdict == "too_large"
    *changes, more_memory = made.remedies
    assert changes
    for remedy in changes:
        parameters, machines = applied(remedy)
        assert parameters or machines, remedy
        again = planned(qwen, pod={**pod, **machines}, **{**case, **parameters})
        assert again.verdict == "fits", remedy
    (size,) = re.findall(r"(\d+)(?: GiB|Gi)", more_memory)
    larger = {"gpu_memory": f"{size}Gi"} if made.world.on_gpu else {"memory": f"{size}Gi"}
    assert planned(qwen, pod={**pod, **larger}, **case).verdict == "fits"


def test_the_largest_tokens_that_fit_are_the_largest(qwen):
    made = planned(qwen, pod={"gpu_memory": "60Gi"}, max_seq_len=2048)
    largest = made.largest_max_tokens_per_gpu
    assert largest is not None
    pod = {"gpu_memory": "60Gi"}
    fits = planned(qwen, pod=pod, max_seq_len=2048, max_tokens_per_gpu=largest)
    more = planned(qwen, pod=pod, max_seq_len=2048, max_tokens_per_gpu=largest + 128)
    assert (fits.verdict, more.verdict) == ("fits", "tight")


def test_a_run_that_died_although_it_fits_gets_remedies_that_take_less(qwen):
    made = planned(qwen, max_seq_len=2048)
    assert made.remedies == ()
    first, *_ = remedies_for_out_of_memory(made)
    parameters, _ = applied(first)
    assert parameters["max_tokens_per_gpu"] < training().max_tokens_per_gpu
    less = planned(qwen, max_seq_len=2048, **parameters)
    assert less.memory.total <= 0.75 * made.memory.total


def test_a_killed_process_with_a_gpu_needs_memory_of_the_host(qwen_7b):
    made = planned(qwen_7b, pod={"gpus_per_worker": 8, "memory": "64Gi"})
    (remedy,) = remedies_for_out_of_memory(made, host=True)
    (size,) = re.findall(r"kubernetes\.memory to (\d+)Gi", remedy)
    assert int(size) * 1024**3 > made.host_memory > 8 * 2 * qwen_7b.parameters
    assert any(warning.startswith("kubernetes.memory") for warning in made.warnings)


def test_a_killed_process_on_the_cpu_gets_the_remedies_of_training(qwen):
    made = planned(qwen, backend="cpu", pod={"gpus_per_worker": 0})
    assert remedies_for_out_of_memory(made, host=True) == remedies_for_out_of_memory(made)


@pytest.mark.parametrize(
    ("parameters", "warning"),
    [
        ({"learning_rate": 5e-6}, "training.learning_rate: 5e-06 is below"),
        ({"learning_rate": 1e-3}, "training.learning_rate: 0.001 is above"),
        ({"algorithm": "lora_sft"}, "training.learning_rate: 2e-05 is below"),
        ({"algorithm": "osft", "unfreeze_rank_ratio": 0.6}, "training.unfreeze_rank_ratio: 0.6"),
        (
            {"algorithm": "lora_sft", "learning_rate": 2e-4, "lora_r": 8, "lora_alpha": 16},
            "training.lora_r: 8 is outside",
        ),
        (
            {"algorithm": "lora_sft", "learning_rate": 2e-4, "lora_alpha": 128},
            "training.lora_alpha: 128 is outside the usual 1 to 2 times lora_r (16 to 32)",
        ),
        ({"warmup_steps": 0}, "training.warmup_steps: 0 is 0% of the 100 steps"),
        ({"num_epochs": 5, "warmup_steps": 40}, "training.num_epochs: 5 is above 3"),
        ({"effective_batch_size": 2000}, "training.effective_batch_size: 2000 is above the 1600"),
    ],
)
def test_what_is_unusual_is_said(parameters, warning):
    config = training(**{"effective_batch_size": 16, **GOOD, **parameters})
    rows = rows_of(config, token_report(ROWS, rows_too_long=300, rows_untrained=100))
    (found,) = warnings(config, rows)
    assert found.startswith(warning)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"effective_batch_size": 2001},  # refused, which is said elsewhere
        {"algorithm": "osft"},
        {"algorithm": "lora_sft", "learning_rate": 2e-4},
        {"lr_scheduler": "constant", "warmup_steps": 0},
    ],
)
def test_usual_hyperparameters_get_no_warning(parameters):
    config = training(**{"effective_batch_size": 16, **GOOD, **parameters})
    rows = rows_of(config, token_report(ROWS, rows_too_long=400))
    assert warnings(config, rows) == []


def test_a_report_for_another_length_is_named(qwen):
    made = planned(qwen, token_report(ROWS, max_seq_len=512))
    assert any("max_seq_len 512" in warning for warning in made.warnings)


def test_the_table_of_sizes(qwen_7b):
    assert guidance(qwen_7b.parameters).startswith("7.62B parameters; 7-8B: LoRA preferred (16-24")
    assert "30-70B" in guidance(70_000_000_000)


def test_estimate_and_actual_stand_side_by_side(qwen):
    made = planned(qwen, token_report(ROWS), effective_batch_size=100)
    outcome = TrainOutcome.model_construct(
        steps=16,
        tokens=440_000,
        trained_tokens=220_000,
        train_seconds=7200.0,
        tokens_per_second=50.0,
        peak_memory_mib=made.memory.total / 1024**2,
        resumed_from_step=0,
    )
    rows = {row.figure: row for row in estimate_beside_actual(made, outcome)}
    assert rows["peak memory (GiB)"].ratio == pytest.approx(1.0)
    assert rows["hours"].actual == 2.0
    assert rows["optimizer steps"].ratio == rows["tokens"].ratio == 1.0


def test_what_is_not_known_stays_empty(qwen):
    outcome = TrainOutcome.model_construct(
        steps=16,
        tokens=None,
        trained_tokens=None,
        train_seconds=10.0,
        tokens_per_second=None,
        peak_memory_mib=1024.0,
        resumed_from_step=8,
    )
    rows = {row.figure: row for row in estimate_beside_actual(planned(qwen), outcome)}
    assert rows["tokens"].ratio is None
    assert rows["hours"].actual is None  # of the last attempt alone
    assert rows["peak memory (GiB)"].actual == 1.0
