"""How a run is watched: trackers, the profiler, the watchdog."""

from __future__ import annotations

from typing import Literal

from ft_assets.config.block import Block, parameter


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
        "What a run does that cannot end well (loss not finite or 0, gradients constantly 0 or "
        "exploding): stop, or go on with a failed check. A loss that is not finite always stops.",
    )
