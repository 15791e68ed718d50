"""What a run is refused for before it starts, beside what its backend cannot honour.

A run (``make_plan``, and the step that carries its plan out) and ``ft plan`` both ask here, so that
they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.training import TrainingConfig
from ft_assets.training.profile_window import ProfileWindow
from resources.errors import UserError


def refuse_what_never_runs(kubernetes: KubernetesConfig, *, cluster: bool = False) -> None:
    """Refuse, before a run's first step does anything, what could not be started here.

    Args:
        kubernetes: the effective ``kubernetes`` block.
        cluster: whether there is a cluster, which can start several nodes.

    Raises:
        UserError: more than one worker, and no cluster or what their TrainJob cannot carry.
    """
    if kubernetes.workers == 1:
        return
    if not cluster:
        raise UserError(
            f"kubernetes.workers: {kubernetes.workers}: several nodes are started on a Kubernetes "
            "cluster (FT_EXECUTOR=k8s), and this is none: set 1"
        )
    from ft_assets.kubernetes.train_job import refuse_what_a_train_job_loses

    refuse_what_a_train_job_loses(kubernetes)


def refuse_a_batch_above_the_rows(config: TrainingConfig, train_rows: int) -> None:
    """Refuse a batch for which there are not rows enough.

    Raises:
        UserError: the training set is smaller than one batch.
    """
    if config.effective_batch_size > train_rows:
        raise UserError(
            f"training.effective_batch_size ({config.effective_batch_size}) is larger than the "
            f"training set ({train_rows} rows): lower it or bring more rows"
        )


def refuse_processes_without_a_row(config: TrainingConfig, parameters: Mapping[str, Any]) -> None:
    """Refuse a batch that leaves a training process without anything to do.

    Args:
        config: the effective ``training`` block.
        parameters: what the backend receives, with the processes per node and the nodes.

    Raises:
        UserError: there are more processes than rows in a batch.
    """
    processes = int(parameters.get("nproc_per_node", 1)) * int(parameters.get("nnodes", 1))
    if config.effective_batch_size < processes:
        raise UserError(
            f"training.effective_batch_size ({config.effective_batch_size}) is below the number "
            f"of training processes ({processes}), each of which needs a row: raise it"
        )


def refuse_a_loss_of_no_rows(config: TrainingConfig, *, held_out: bool) -> None:
    """Refuse to measure held-out rows that are not there.

    Raises:
        UserError: nothing is held out.
    """
    if config.validation_steps and not held_out:
        raise UserError(
            f"training.validation_steps ({config.validation_steps}) measures held-out rows and "
            "nothing is held out: lower dataset.split, name an eval_uri, or set 0"
        )


def refuse_beyond_the_run(config: TrainingConfig, steps: int) -> None:
    """Refuse what lies outside the optimizer steps of a run, once they are known.

    Raises:
        UserError: the warm-up never ends, or the profiler records steps that are never done.
    """
    if config.warmup_steps >= steps:
        raise UserError(
            f"training.warmup_steps ({config.warmup_steps}) is not below the run's {steps} "
            "optimizer steps, so that the learning rate would never reach its peak: 5 to 10 % of "
            "the steps are usual"
        )
    if config.profiler_steps:
        ProfileWindow(config.profiler_steps_start, config.profiler_steps).check(steps)
