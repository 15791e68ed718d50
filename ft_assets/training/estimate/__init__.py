"""What a training run will need and take, before it is started.

Belongs here: arithmetic on shapes, rows and parameters. Nothing loads weights, asks for a GPU or
imports torch; the estimates are pure functions that a test can compare with numbers.
"""

from ft_assets.training.estimate.architecture import Architecture
from ft_assets.training.estimate.compare import ComparedRow, estimate_beside_actual
from ft_assets.training.estimate.estimate import (
    TrainingEstimate,
    estimate,
    remedies_for_out_of_memory,
)
from ft_assets.training.estimate.headers import read_architecture
from ft_assets.training.estimate.world import World

__all__ = [
    "Architecture",
    "ComparedRow",
    "TrainingEstimate",
    "World",
    "estimate",
    "estimate_beside_actual",
    "read_architecture",
    "remedies_for_out_of_memory",
]
