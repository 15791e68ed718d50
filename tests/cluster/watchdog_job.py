"""A job whose every step meets a fault of its own; pods of most run a shell instead of the step."""

# Without postponed annotations: Dagster reads those of an op's function.

import time
from typing import Any

import dagster as dg

from ft_assets.cluster.k8s_executor import k8s_executor

SHARED = {"ft-assets/node": "shared"}
LOST = {"ft-assets/will-be-lost": "yes"}


def _pod(
    shell: str | None = "sleep 60",
    *,
    image: str = "any",
    limits: dict[str, str] | None = None,
    env: list[dict[str, Any]] | None = None,
    job: dict[str, Any] | None = None,
    node: dict[str, str] = SHARED,
    **spec: Any,
) -> dict[str, Any]:
    container: dict[str, Any] = {"image": image}
    if shell is not None:
        container["command"] = ["sh", "-c", shell]
    if limits:
        container["resources"] = {"limits": limits}
    if env:
        container["env"] = env
    return {
        "container_config": container,
        "pod_spec_config": {
            "node_selector": node,
            "termination_grace_period_seconds": 2,
            **spec,
        },
        "job_spec_config": job or {},
    }


_SECRET = {"secret_key_ref": {"name": "not-there", "key": "token"}}
_NODE = {"name": "NODE", "value_from": {"field_ref": {"field_path": "spec.nodeName"}}}
_VOLUME = {"name": "keys", "secret": {"secret_name": "not-there"}}

PODS: dict[str, dict[str, Any]] = {
    "priority": _pod(priority_class_name="not-there"),
    "quota": _pod(limits={"example.com/chip": "2"}),
    "image": _pod(image="missing:1"),
    "secret": _pod(env=[{"name": "TOKEN", "value_from": _SECRET}]),
    "mount": _pod(volumes=[_VOLUME]),
    "memory": _pod(limits={"memory": "64Mi"}),
    "evicted": _pod(),
    "deadline": _pod(job={"active_deadline_seconds": 2}),
    "job_deleted": _pod(),
    "crashed": _pod("exit 3"),
    "silent": _pod("exit 0"),
    "invalid": _pod(limits={"cpu": "-1"}),
    "foreign": _pod(),
    "node_lost": _pod('test "$NODE" != lost || sleep 60', env=[_NODE], node=LOST),
}
"""What each step's pod is, by the step's name."""


def _op(name: str, pod: dict[str, Any]) -> dg.OpDefinition:
    @dg.op(name=name, tags={"dagster-k8s/config": pod})
    def work() -> None:
        """Never runs: the pod has another command."""

    return work


@dg.op(tags={"dagster-k8s/config": _pod(None)})
def well() -> None:
    """Nothing ails it."""


@dg.op(tags={"dagster-k8s/config": _pod(None)})
def adopted() -> None:
    """Its job is there before the executor creates it."""


@dg.op(tags={"dagster-k8s/config": _pod(None)})
def own_words() -> None:
    """Fails by itself."""
    raise dg.Failure("row 3 is no conversation", allow_retries=False)


@dg.op(tags={"dagster-k8s/config": _pod(None)})
def interrupted(context: dg.OpExecutionContext) -> None:
    """Its first pod is deleted while it works."""
    if context.retry_number == 0:
        context.log.info("working")
        time.sleep(60)


@dg.job(executor_def=k8s_executor)
def faulty() -> None:
    """All of them, beside one another."""
    for name, pod in PODS.items():
        _op(name, pod)()
    well()
    adopted()
    own_words()
    interrupted()


@dg.job(executor_def=k8s_executor)
def no_room() -> None:
    """One step that asks for more than any node has; a job of its own, for its queue's deadline."""
    _op("room", _pod(limits={"nvidia.com/gpu": "64"}))()
