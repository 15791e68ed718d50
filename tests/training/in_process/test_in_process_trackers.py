"""TensorBoard, Weights & Biases and MLflow: what they are told, and what is refused beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import TrainingConfig
from ft_assets.training.arguments import packages as asked
from ft_assets.training.arguments.packages import (
    refuse_missing_packages,
    refuse_trackers_that_disagree,
)
from ft_assets.training.in_process import trackers
from resources.errors import UserError

WANDB = {"wandb_project": "p", "wandb_entity": "team", "wandb_run_name": "r"}
MLFLOW = {"mlflow_tracking_uri": "http://m", "mlflow_experiment_name": "e", "mlflow_run_name": "r"}


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "find_spec", lambda package: object())


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(values)


def test_without_a_tracker_nothing_is_reported(settings_for):
    settings = settings_for()
    assert trackers.report_to(settings) == []
    assert trackers.run_name(settings) is None
    assert "WANDB_PROJECT" not in trackers.environment(settings)
    refuse_missing_packages(config())


@pytest.mark.usefixtures("everything_installed")
def test_each_is_told_where_and_under_which_name(settings_for):
    settings = settings_for(tensorboard=True, **WANDB, **MLFLOW)
    assert trackers.report_to(settings) == ["tensorboard", "wandb", "mlflow"]
    assert trackers.run_name(settings) == "r"
    told = trackers.environment(settings)
    assert Path(told["TENSORBOARD_LOGGING_DIR"]) == settings.run_dir / "tensorboard"
    assert (told["WANDB_PROJECT"], told["WANDB_ENTITY"]) == ("p", "team")
    assert (told["MLFLOW_TRACKING_URI"], told["MLFLOW_EXPERIMENT_NAME"]) == ("http://m", "e")


@pytest.mark.usefixtures("everything_installed")
def test_a_run_that_goes_on_is_the_same_run_in_weights_and_biases(settings_for):
    told = trackers.environment(settings_for(**WANDB))
    assert told["WANDB_RUN_ID"] == settings_for(**WANDB).fingerprint[:16]
    assert told["WANDB_RESUME"] == "allow"


def test_the_names_are_those_that_transformers_reads():
    import inspect

    from transformers.integrations import integration_utils

    source = inspect.getsource(integration_utils)
    for name in (
        "TENSORBOARD_LOGGING_DIR",
        "WANDB_PROJECT",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
    ):
        assert f'os.getenv("{name}"' in source, name


@pytest.mark.parametrize(
    ("values", "package"),
    [
        ({"tensorboard": True}, "tensorboard"),
        (WANDB, "wandb"),
        (MLFLOW, "mlflow"),
        ({"use_liger": True}, "liger-kernel"),
    ],
)
def test_a_package_that_is_missing_is_refused_with_the_command_that_brings_it(
    values, package, monkeypatch
):
    monkeypatch.setattr(asked, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"pip install {package}"):
        refuse_missing_packages(config(**values))


@pytest.mark.usefixtures("everything_installed")
def test_what_is_installed_is_not_refused():
    given = config(tensorboard=True, use_liger=True, **WANDB, **MLFLOW)
    refuse_missing_packages(given)
    refuse_trackers_that_disagree(given)


@pytest.mark.usefixtures("everything_installed")
@pytest.mark.parametrize(
    ("values", "needed"),
    [
        ({"wandb_run_name": "r"}, "wandb_project"),
        ({"wandb_entity": "e"}, "wandb_project"),
        ({"mlflow_run_name": "r"}, "mlflow_tracking_uri"),
        ({"mlflow_experiment_name": "e"}, "mlflow_tracking_uri"),
    ],
)
def test_a_parameter_of_a_tracker_that_is_not_on_is_refused(values, needed):
    with pytest.raises(UserError, match=f"no effect without training.{needed}"):
        refuse_trackers_that_disagree(config(**values))


@pytest.mark.usefixtures("everything_installed")
def test_two_names_for_one_run_are_refused():
    with pytest.raises(UserError, match="differ"):
        refuse_trackers_that_disagree(config(**WANDB, **{**MLFLOW, "mlflow_run_name": "other"}))
