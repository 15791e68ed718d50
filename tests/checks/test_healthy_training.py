"""Errors block what is made of a model, warnings do not, and advice passes."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.checks.healthy_training import NAME, check_result, check_spec, error_of
from ft_assets.training.health import Finding

KEY = ["p", "finetuned_model"]


def finding(severity: str, code: str = "spikes") -> Finding:
    return Finding.model_validate(
        {
            "code": code,
            "severity": severity,
            "step": 7,
            "seen": f"{code} seen",
            "remedy": "lower training.learning_rate",
        }
    )


@pytest.mark.parametrize(
    ("severities", "passed", "blocks"),
    [
        ([], True, False),
        (["advice"], True, False),
        (["warning", "advice"], False, False),
        (["error", "warning"], False, True),
    ],
)
def test_the_worst_finding_decides(severities, passed, blocks):
    result = check_result(KEY, [finding(severity) for severity in severities])
    assert result.passed is passed
    assert (not result.passed and result.severity == dg.AssetCheckSeverity.ERROR) is blocks
    assert check_spec(KEY, None).blocking


def test_the_description_has_the_remedy_of_the_worst():
    result = check_result(KEY, [finding("error", "diverged"), finding("warning")])
    assert result.description == "diverged seen: lower training.learning_rate"
    assert check_result(KEY, []).description == "nothing was found"


def test_all_findings_stand_in_a_table():
    result = check_result(KEY, [finding("warning"), finding("advice", "warmup_share")])
    rows = [record.data for record in result.metadata["findings"].value.records]
    assert [(row["severity"], row["code"], row["step"]) for row in rows] == [
        ("warning", "spikes", 7),
        ("advice", "warmup_share", 7),
    ]


def test_it_holds_one_status_per_drop():
    drops = dg.StaticPartitionsDefinition(["a", "b"])
    assert check_spec(KEY, drops).partitions_def == drops
    assert check_spec(KEY, drops).name == NAME


@pytest.mark.parametrize(
    ("severities", "error"),
    [
        ([], None),
        (["warning", "advice"], None),
        (["error", "warning"], "spikes seen: lower training.learning_rate"),
    ],
)
def test_a_step_that_runs_alone_reads_the_same_from_the_manifest(severities, error):
    manifest = {"health": [finding(s).model_dump(mode="json") for s in severities]}
    assert error_of(manifest) == error
