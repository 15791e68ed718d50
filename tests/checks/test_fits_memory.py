"""The check before training stops a run that clearly does not fit, and warns of a tight one."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.checks.fits_memory import NAME, check_result, check_spec
from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training.estimate import estimate
from ft_assets.training.estimate.architecture import architecture_of_config

KEY = ["sft", "token_report"]
MODEL = architecture_of_config(
    "org/model",
    {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "torch_dtype": "bfloat16",
    },
)


def checked(gpu_memory: str = "80Gi", memory: str = "64Gi", **parameters) -> dg.AssetCheckResult:
    kubernetes = KubernetesConfig(gpu_memory=gpu_memory, memory=memory)
    training = TrainingConfig.model_validate(parameters)
    return check_result(KEY, estimate(MODEL, training, kubernetes, None))


@pytest.mark.parametrize(
    ("gpu_memory", "passed", "severity"),
    [
        ("80Gi", True, dg.AssetCheckSeverity.WARN),
        ("42Gi", False, dg.AssetCheckSeverity.WARN),
        ("16Gi", False, dg.AssetCheckSeverity.ERROR),
    ],
)
def test_only_what_is_clearly_too_large_stops_training(gpu_memory, passed, severity):
    result = checked(gpu_memory)
    assert (result.passed, result.severity) == (passed, severity)


def test_a_failed_check_says_what_to_change():
    result = checked("16Gi")
    assert "too large" in result.description
    assert "training." in result.description
    assert "kubernetes.gpu_memory" in str(result.metadata["remedies"].value)


def test_on_the_cpu_it_never_stops_training():
    result = checked(backend="cpu", memory="1Gi")
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN


def test_warnings_on_hyperparameters_stand_in_the_metadata():
    assert "training.learning_rate" in str(checked(learning_rate=0.1).metadata["warnings"].value)
    assert checked(learning_rate=2e-5).metadata["warnings"].value == "none"


def test_it_blocks_the_training():
    spec = check_spec(KEY, None)
    assert (spec.name, spec.blocking) == (NAME, True)
