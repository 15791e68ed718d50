"""Packages and trackers that a pipeline asks for: what cannot work is refused before it costs."""

from __future__ import annotations

from importlib.util import find_spec

from ft_assets.config.training import TrainingConfig
from resources.errors import UserError

_PACKAGE_OF = {
    "tensorboard": "tensorboard",
    "wandb_project": "wandb",
    "mlflow_tracking_uri": "mlflow",
    "use_liger": "liger-kernel",  # other backends than those on GPUs have refused it before
}
_BELONGS_TO = {
    "wandb_entity": "wandb_project",
    "wandb_run_name": "wandb_project",
    "mlflow_experiment_name": "mlflow_tracking_uri",
    "mlflow_run_name": "mlflow_tracking_uri",
}


def refuse_missing_packages(config: TrainingConfig) -> None:
    """Refuse a tracker, kernels, an optimizer or a quantization that could not work.

    Raises:
        UserError: its package is not installed here.
    """
    for name, package in _PACKAGE_OF.items():
        if getattr(config, name) and find_spec(package.replace("-", "_")) is None:
            raise UserError(
                f"training.{name} needs the package {package}, which is not installed where "
                f"training runs: pip install {package}, or leave {name} out"
            )
    for name in ("load_in_4bit", "load_in_8bit", "optimizer"):
        wanted = str(getattr(config, name))
        if wanted in ("True", "adamw_8bit", "adamw_bnb_8bit") and not find_spec("bitsandbytes"):
            raise UserError(
                f"training.{name}: {wanted} needs the package bitsandbytes, which is not installed "
                "where training runs: pip install bitsandbytes, or leave it out"
            )


def refuse_trackers_that_disagree(config: TrainingConfig) -> None:
    """Refuse parameters of trackers that do not go together.

    Raises:
        UserError: a parameter of a tracker stands alone, or two would give the run two names.
    """
    for name, needed in _BELONGS_TO.items():
        if getattr(config, name) is not None and getattr(config, needed) is None:
            raise UserError(f"training.{name} has no effect without training.{needed}: set both")
    names = {config.wandb_run_name, config.mlflow_run_name} - {None}
    if len(names) > 1:
        raise UserError(
            f"training.wandb_run_name ({config.wandb_run_name}) and mlflow_run_name "
            f"({config.mlflow_run_name}) differ, and a run has one name: give both the same"
        )
