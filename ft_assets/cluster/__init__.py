"""Running steps on Kubernetes: the executor, the watchdog over its pods, and cleaning up.

Belongs here: what talks to a cluster for Dagster's sake, and the pure judgement of what it says.
Does not belong here: what a step's pod is made of (``ft_assets.kubernetes``). Importing the package
imports no client of Kubernetes.
"""
