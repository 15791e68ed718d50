"""A code location with nothing but empty ops, for bench/cluster.py: what Dagster's own costs."""

# Without postponed annotations: Dagster reads those of an op's function.

import dagster as dg
from dagster_k8s import k8s_job_executor

STEPS = 3


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def empty() -> None:
    """Nothing."""


@dg.job(executor_def=k8s_job_executor)
def chain() -> None:
    """One after the other, as the assets of a pipeline are."""
    done = None
    for number in range(STEPS):
        step = empty.alias(f"empty_{number}")
        done = step() if done is None else step(done)


defs = dg.Definitions(jobs=[chain])
