"""TensorBoard, Weights & Biases and MLflow through transformers' own integrations.

They take most of what they need from environment variables, which they read when the Trainer is
made. What a pipeline may ask for is checked in ``arguments/trackers.py``, before training.
"""

from __future__ import annotations

from ft_assets.training.in_process.settings import Settings
from ft_assets.training.metrics import TENSORBOARD_DIR


def report_to(settings: Settings) -> list[str]:
    """The integrations that the Trainer reports to."""
    asked = {
        "tensorboard": settings.tensorboard,
        "wandb": settings.wandb_project is not None,
        "mlflow": settings.mlflow_tracking_uri is not None,
    }
    return [name for name, is_asked in asked.items() if is_asked]


def run_name(settings: Settings) -> str | None:
    """The name of the run, which the Trainer gives to all of them."""
    return settings.wandb_run_name or settings.mlflow_run_name


def environment(settings: Settings) -> dict[str, str]:
    """What the integrations read from the environment.

    A run that goes on after an interruption goes on in Weights & Biases too: the id is the
    fingerprint's.
    """
    values = {
        "TENSORBOARD_LOGGING_DIR": str(settings.run_dir / TENSORBOARD_DIR),
        "WANDB_DIR": str(settings.run_dir),
        "WANDB_RUN_ID": settings.fingerprint[:16],
        "WANDB_RESUME": "allow",
        "WANDB_PROJECT": settings.wandb_project,
        "WANDB_ENTITY": settings.wandb_entity,
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "MLFLOW_EXPERIMENT_NAME": settings.mlflow_experiment_name,
    }
    return {name: value for name, value in values.items() if value is not None}
