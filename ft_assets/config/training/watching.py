"""How a run is watched: trackers, the profiler, the watchdog."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from ft_assets.config.block import Block, parameter
from ft_assets.config.secret import secret_error


class WatchingParameters(Block):
    """Trackers beside our own metrics, profiling, and what an unhealthy run does."""

    tensorboard: bool = parameter(
        False, "Also write TensorBoard files; they lie in the artifact, under tensorboard."
    )
    wandb_project: str | None = parameter(
        None, "Also report to this Weights & Biases project; the key is in WANDB_API_KEY."
    )
    wandb_entity: str | None = parameter(None, "Weights & Biases: team or user.")
    wandb_run_name: str | None = parameter(None, "Weights & Biases: name of the run.")
    mlflow_tracking_uri: str | None = parameter(None, "Also report to this MLflow server.")
    mlflow_experiment_name: str | None = parameter(None, "MLflow: name of the experiment.")
    mlflow_run_name: str | None = parameter(None, "MLflow: name of the run.")
    profiler_steps_start: int = parameter(
        0, "Optimizer step after which profiling begins (axolotl's name).", ge=0
    )
    profiler_steps: int = parameter(
        0, "Optimizer steps that are profiled (axolotl's name); 0 profiles none.", ge=0, le=100
    )
    on_unhealthy: Literal["stop", "warn"] = parameter(
        "stop",
        "What a run does that cannot end well (loss not finite, 0 or diverged, gradients or "
        "learning rate constantly 0, gradients exploding while the loss rises): stop, or go on "
        "with a failed check. A loss that is not finite always stops.",
    )

    @field_validator("mlflow_tracking_uri", mode="before")
    @classmethod
    def _no_password_in_the_uri(cls, uri: Any) -> Any:
        if isinstance(uri, str) and "@" in urlsplit(uri).netloc:
            raise secret_error(
                "the URI holds a user or a password: put them into the environment variables "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD of the training process"
            )
        return uri
