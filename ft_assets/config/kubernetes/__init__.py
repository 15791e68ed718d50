"""The ``kubernetes`` block: the pods in which steps run, checked by Kubernetes' own rules.

Belongs here: the parameters and what is refused of them, without any Kubernetes package, so that a
laptop says it too. Does not belong here: the pods themselves (``ft_assets.kubernetes``).
"""

from ft_assets.config.kubernetes.block import (
    OTHER_STEPS,
    TRAINING,
    KubernetesConfig,
    StepPodConfig,
    TrainingPodConfig,
)
from ft_assets.config.kubernetes.pod import PodConfig

__all__ = [
    "OTHER_STEPS",
    "TRAINING",
    "KubernetesConfig",
    "PodConfig",
    "StepPodConfig",
    "TrainingPodConfig",
]
