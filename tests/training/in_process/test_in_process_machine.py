"""Threads and precision are decided once per run; a run that goes on keeps them."""

from __future__ import annotations

import os

import pytest

from ft_assets.training.in_process import machine
from ft_assets.training.in_process.machine import decide, free_cores, precision
from ft_assets.training.plan import TrainPlan


@pytest.fixture
def plan(plan_file):
    def read(**values) -> TrainPlan:
        return TrainPlan.model_validate_json(plan_file(**values).read_text())

    return read


def cores_of_the_machine(monkeypatch, *, busy, ours=None) -> None:
    """A machine with so many cores, each busy to so many percent, without a quota."""
    cores = set(range(len(busy))) if ours is None else ours
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr("psutil.cpu_percent", lambda interval, percpu: busy)
    monkeypatch.setattr(machine, "cpu_quota", lambda: None)


def test_what_the_plan_names_is_taken(plan, tmp_path):
    decided = decide(plan(threads=3, precision="bf16"), tmp_path)
    assert decided == {"device": "cpu", "threads": 3, "precision": "bf16"}


def test_a_run_that_goes_on_keeps_what_it_began_with(plan, tmp_path):
    first = decide(plan(threads=3, precision="fp32"), tmp_path)
    assert decide(plan(threads=0, precision="auto"), tmp_path) == first


def test_without_a_number_the_free_cores_are_taken(plan, tmp_path):
    threads = decide(plan(threads=0, precision="auto"), tmp_path)["threads"]
    assert isinstance(threads, int)
    assert 1 <= threads <= (os.cpu_count() or 1)


def test_at_least_one_core_is_always_free(monkeypatch):
    cores_of_the_machine(monkeypatch, busy=[100.0, 100.0])
    assert free_cores() == 1


@pytest.mark.parametrize(
    ("quota", "cores"), [(None, 12), (2.0, 2), (2.7, 2), (0.5, 1), (12.0, 12), (64.0, 12)]
)
def test_others_take_from_the_machine_and_not_from_the_quota(monkeypatch, quota, cores):
    cores_of_the_machine(monkeypatch, busy=[100.0] * 20 + [0.0] * 12)
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert free_cores() == cores


def test_what_runs_on_other_cores_takes_nothing_from_those_that_are_ours(monkeypatch):
    cores_of_the_machine(monkeypatch, busy=[100.0] * 28 + [0.0] * 4, ours={28, 29, 30, 31})
    assert free_cores() == 4
    cores_of_the_machine(monkeypatch, busy=[0.0] * 28 + [60.0] * 4, ours={28, 29, 30, 31})
    assert free_cores() == 2


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_a_precision_that_is_named_is_taken(asked):
    assert precision(asked) == asked


@pytest.mark.parametrize(
    ("vendor", "flags", "chosen"),
    [
        ("GenuineIntel", "avx2 fma", "fp32"),
        ("GenuineIntel", "avx512f avx512_bf16", "fp32"),  # there slower than fp32
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", "bf16"),
        ("AuthenticAMD", "avx2 fma avx512f", "fp32"),  # would be emulated
        ("AuthenticAMD", "avx512f avx512_bf16", "bf16"),
    ],
)
def test_auto_computes_in_bf16_only_where_the_processor_is_faster_with_it(
    monkeypatch, tmp_path, vendor, flags, chosen
):
    lines = f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n"
    (tmp_path / "cpuinfo").write_text(lines)
    monkeypatch.setattr("ft_assets.training.estimate.world.CPU_INFO", tmp_path / "cpuinfo")
    assert precision("auto") == chosen


def test_auto_computes_in_fp32_where_the_processor_tells_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("ft_assets.training.estimate.world.CPU_INFO", tmp_path / "none")
    assert precision("auto") == "fp32"
