"""The ``kubernetes`` block as pods: of the steps, and of a TrainJob's workers.

Belongs here: what a pod is made of, as plain values in Kubernetes' own words. Does not belong here:
any call of a cluster, and any import of its client: a laptop loads this too.
"""

from ft_assets.kubernetes.names import MANAGED, labels_of
from ft_assets.kubernetes.pod import pod_template
from ft_assets.kubernetes.step import GPU_POOL, queue_timeout, step_pod, step_tags

__all__ = [
    "GPU_POOL",
    "MANAGED",
    "labels_of",
    "pod_template",
    "queue_timeout",
    "step_pod",
    "step_tags",
]
