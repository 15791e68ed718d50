"""What a training took: GPU hours, and money where the price of one is known.

Belongs here: what is reckoned after the training, from its plan and its outcome. Does not belong
here: what is said before (``estimate/``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ft_assets.training.outcome import TrainOutcome
    from ft_assets.training.plan import TrainPlan


@dataclass(frozen=True)
class TrainingCost:
    """What one training took."""

    gpus: int
    """0 on a CPU."""
    seconds: float | None
    """Time inside optimizer steps; None where an earlier attempt did a part of unknown length."""
    money: float | None
    """In the currency of ``kubernetes.gpu_hour_price``; None without a price or a GPU."""

    @property
    def gpu_hours(self) -> float | None:
        """GPUs times hours; None where the time is not known."""
        return None if self.seconds is None else self.gpus * self.seconds / 3600


def training_cost(plan: TrainPlan, outcome: TrainOutcome, gpu_hour_price: float) -> TrainingCost:
    """What a training took.

    Args:
        plan: of the training.
        outcome: how it ended.
        gpu_hour_price: of one GPU for an hour; 0 when it is not known.
    """
    processes = (int(plan.parameters.get(name, 1)) for name in ("nproc_per_node", "nnodes"))
    gpus = 0 if plan.backend == "cpu" else math.prod(processes)
    # A resumed run tells the time of its last attempt alone.
    seconds = None if outcome.resumed_from_step else outcome.train_seconds
    cost = TrainingCost(gpus=gpus, seconds=seconds, money=None)
    if not cost.gpu_hours or not gpu_hour_price:
        return cost
    return TrainingCost(gpus=gpus, seconds=seconds, money=cost.gpu_hours * gpu_hour_price)
