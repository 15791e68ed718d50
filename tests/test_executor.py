"""Where steps run is the environment's choice."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster_k8s import k8s_job_executor

from ft_assets.executor import NAMES, executor
from resources.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("in_process", dg.in_process_executor),
        ("multiprocess", dg.multiprocess_executor),
        ("k8s", k8s_job_executor),
    ],
)
def test_the_environment_names_the_executor(monkeypatch, name, expected):
    monkeypatch.setenv("FT_EXECUTOR", name)
    assert executor() is expected
    assert name in NAMES


def test_a_laptop_runs_steps_in_one_process(monkeypatch):
    monkeypatch.delenv("FT_EXECUTOR", raising=False)
    assert executor() is dg.in_process_executor


@pytest.mark.parametrize("name", ["", "celery", "K8S"])
def test_another_name_is_refused_with_those_that_there_are(monkeypatch, name):
    monkeypatch.setenv("FT_EXECUTOR", name)
    with pytest.raises(UserError, match="set one of in_process, multiprocess, k8s"):
        executor()
