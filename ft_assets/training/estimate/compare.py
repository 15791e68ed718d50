"""The estimate beside what happened, when a run is over; and what that says of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.provenance.builder import BuilderRecord
from ft_assets.training.arguments.backends import Backend
from ft_assets.training.estimate.estimate import TrainingEstimate
from ft_assets.training.estimate.world import GIB, World
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan, backend_arguments, mask_policy
from resources.errors import UserError
from resources.record import Record

_MIB_PER_GIB = 1024

_COSTS_NO_TIME = frozenset(
    {
        *("num_epochs", "learning_rate", "warmup_steps", "lr_scheduler", "lr_scheduler_kwargs"),
        *("seed", "random_seed", "beta1", "beta2", "eps", "weight_decay", "max_grad_norm"),
        # A speed is that of the steps: what is done between them is not in it.
        *("checkpoint_at_epoch", "save_samples", "save_full_state", "save_final_checkpoint"),
        *("accelerate_full_state_at_epoch", "min_samples_per_checkpoint", "save_best_val_loss"),
        *("on_demand_checkpointing", "validation_steps", "validation_rows"),
        *("validation_frequency", "validate_at_final"),
        *("node_rank", "rdzv_id", "rdzv_endpoint", "master_addr", "master_port"),
        *("wandb_project", "wandb_entity", "wandb_run_name", "tensorboard"),
        *("mlflow_tracking_uri", "mlflow_experiment_name", "mlflow_run_name"),
    }
)
"""Arguments of backends that may differ between two runs of one speed; all others may cost time."""


class ComparedRow(Record):
    """One figure, estimated and actual; None where one of the two is not known."""

    figure: str
    estimated: float | None
    actual: float | None

    @property
    def ratio(self) -> float | None:
        """Estimated over actual."""
        if self.estimated is None or not self.actual:
            return None
        return self.estimated / self.actual


def estimate_beside_actual(estimate: TrainingEstimate, outcome: TrainOutcome) -> list[ComparedRow]:
    """Rows for a table: memory, speed, time, steps and tokens.

    A resumed run's time is that of its last attempt, so that its hours are left out.
    """
    rows, time = estimate.rows, estimate.duration
    whole = not outcome.resumed_from_step
    return [
        ComparedRow(
            figure="peak memory (GiB)",
            estimated=round(estimate.memory.total / GIB, 2),
            actual=round(outcome.peak_memory_mib / _MIB_PER_GIB, 2),
        ),
        ComparedRow(
            figure="tokens per second",
            estimated=round(time.tokens_per_second, 1) if time else None,
            actual=_rounded(outcome.tokens_per_second, 1),
        ),
        ComparedRow(
            figure="hours",
            estimated=round(time.hours, 4) if time else None,
            actual=round(outcome.train_seconds / 3600, 4) if whole else None,
        ),
        ComparedRow(
            figure="optimizer steps", estimated=rows.steps if rows else None, actual=outcome.steps
        ),
        ComparedRow(
            figure="tokens", estimated=rows.tokens if rows else None, actual=outcome.tokens
        ),
        ComparedRow(
            figure="trained tokens",
            estimated=rows.trained_tokens if rows else None,
            actual=outcome.trained_tokens,
        ),
    ]


def measured_speed(
    trained: Mapping[str, Any],
    training: TrainingConfig,
    kubernetes: KubernetesConfig,
    world: World,
    *,
    base_digest: str,
    machine: BuilderRecord | None = None,
) -> float | None:
    """Tokens per second of an earlier run, where this one would do the same work as fast.

    Args:
        trained: the manifest's metadata of the model that the earlier run made.
        training: the ``training`` block of this run.
        kubernetes: the ``kubernetes`` block of this run.
        world: where it takes place.
        base_digest: of the base model that the line of its starts began with.
        machine: that will train, where it is known: another processor, or other GPUs, are another
            speed. A record of an earlier release does not say.

    Returns:
        None where the two differ in what costs time, or the backend says no speed.
    """
    try:
        before = TrainPlan.of_manifest(trained)
        arguments = backend_arguments(training, kubernetes, cast("Backend", world.backend))
    except UserError:  # another version's plan; or this one is refused
        return None
    shape = before.start.base_digest if before.start is not None else before.base_model.digest
    then = (shape, before.algorithm, before.backend, before.mask, before.env)
    now = (base_digest, training.algorithm, world.backend, mask_policy(training), training.env)
    same = then == now and _costly(before.parameters) == _costly(arguments)
    same = same and _was_made_on(trained, machine)
    return trained["outcome"]["tokens_per_second"] if same else None


def _was_made_on(trained: Mapping[str, Any], machine: BuilderRecord | None) -> bool:
    record: Any = trained.get("provenance", {})
    builder = BuilderRecord.model_validate(record.get("builder", {}))
    if machine is None or not builder.processor:
        return True
    return (builder.processor, builder.gpus) == (machine.processor, machine.gpus)


def _costly(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in _COSTS_NO_TIME}


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)
