"""Training on several nodes as a Kubeflow TrainJob.

``request`` says what is asked for, ``manifest`` how a TrainJob says it, ``api`` and ``job`` how the
cluster is called, ``runtimes`` what must be there before; ``state``, ``deadlines`` and ``pods``
read what the cluster shows, ``logs`` and ``messages`` follow node 0, ``following`` is the waiting
loop, ``failures`` why it ended, and ``launcher`` the whole.
"""

from resources.launcher.trainjob.launcher import TrainJobLauncher
from resources.launcher.trainjob.request import TrainJobRequest, job_name

__all__ = ["TrainJobLauncher", "TrainJobRequest", "job_name"]
