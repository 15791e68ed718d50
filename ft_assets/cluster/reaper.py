"""The reaper: a sensor that deletes the jobs of steps and trainings whose run is over.

A run's worker that is killed leaves the pods of its steps running: owner references remove them
with the worker's pod, which may stay for days. One Dagster instance per namespace: a job whose run
this instance does not know is nobody's.
"""

# Without postponed annotations: Dagster reads those of the sensor's function.
# The client's package has no types.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from ft_assets.cluster.orphans import MANAGED_BY, Orphan, Owned, RunEnd, orphans, owned
from ft_assets.executor import on_kubernetes
from resources.cluster.client import api_client, namespace

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

GRACE = timedelta(minutes=2)
UNKNOWN_GRACE = timedelta(hours=1)
"""Longer: a run may be unknown because Dagster's database was just restored."""
PAGE = 200
_GONE = (404, 409)
"""There is no such object; there is another one of its name."""
_NOT_FOUND = 404
_TRAIN_JOBS = ("trainer.kubeflow.org", "v1alpha1", "trainjobs")


def reaper_sensors() -> list[dg.SensorDefinition]:
    """The reaper, where steps run on Kubernetes; nothing elsewhere."""
    return [reaper] if on_kubernetes() else []


@dg.sensor(
    name="reaper",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Deletes Kubernetes jobs of steps and trainings whose run is over.",
)
def reaper(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """One look over all jobs of ours."""
    where = getattr(context.instance.run_launcher, "job_namespace", None) or namespace()
    with api_client() as api:
        done = reap(api, where, context.instance, datetime.now(UTC))
    for line in done:
        context.log.info(line)
    said = "; ".join(done)
    return dg.SkipReason(said or f"Nothing to delete in the namespace {where}")


def reap(
    api: "ApiClient",
    where: str,
    instance: dg.DagsterInstance,
    now: datetime,
) -> list[str]:
    """Delete the orphans of a namespace; one line for each, saying what and why."""
    jobs = [*_jobs(api, where), *_train_jobs(api, where)]
    runs = _runs(instance, {job.run_id for job in jobs})
    found = orphans(jobs, runs, now, grace=GRACE, unknown_grace=UNKNOWN_GRACE)
    return [
        f"Deleted {orphan.job.kind} {orphan.job.name}: {orphan.reason}"
        for orphan in found
        if _delete(api, where, orphan)
    ]


def _runs(instance: dg.DagsterInstance, ids: set[str]) -> dict[str, RunEnd]:
    if not ids:
        return {}
    records = instance.get_run_records(dg.RunsFilter(run_ids=sorted(ids)))
    return {
        record.dagster_run.run_id: RunEnd(
            over=record.dagster_run.is_finished,
            at=datetime.fromtimestamp(record.end_time, UTC) if record.end_time else None,
        )
        for record in records
    }


def _jobs(api: "ApiClient", where: str) -> Iterator[Owned]:
    from kubernetes.client import BatchV1Api

    batch = BatchV1Api(api)
    page: str | None = None
    while page != "":
        further: dict[str, Any] = {"_continue": page} if page else {}
        answer = batch.list_namespaced_job(
            where, label_selector=MANAGED_BY, limit=PAGE, _preload_content=False, **further
        )
        listed = json.loads(answer.data)
        yield from _ours("Job", listed)
        page = listed["metadata"].get("continue") or ""


def _train_jobs(api: "ApiClient", where: str) -> Iterator[Owned]:
    """Trainings on several nodes; none where Kubeflow's Trainer is not installed."""
    from kubernetes.client import CustomObjectsApi
    from kubernetes.client.exceptions import ApiException

    custom = CustomObjectsApi(api)
    group, version, plural = _TRAIN_JOBS
    page: str | None = None
    while page != "":
        further: dict[str, Any] = {"_continue": page} if page else {}
        try:
            listed: Any = custom.list_namespaced_custom_object(
                group, version, where, plural, label_selector=MANAGED_BY, limit=PAGE, **further
            )
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return
            raise
        yield from _ours("TrainJob", listed)
        page = listed["metadata"].get("continue") or ""


def _ours(kind: str, listed: Any) -> Iterator[Owned]:
    for item in listed["items"]:
        if (job := owned(kind, item)) is not None:
            yield job


def _delete(api: "ApiClient", where: str, orphan: Orphan) -> bool:
    """Delete this very object with its pods; False: it has gone in the meantime."""
    from kubernetes.client import BatchV1Api, CustomObjectsApi, V1DeleteOptions, V1Preconditions
    from kubernetes.client.exceptions import ApiException

    job = orphan.job
    options = V1DeleteOptions(
        propagation_policy="Background", preconditions=V1Preconditions(uid=job.uid)
    )
    try:
        if job.kind == "Job":
            BatchV1Api(api).delete_namespaced_job(job.name, where, body=options)
        else:
            group, version, plural = _TRAIN_JOBS
            CustomObjectsApi(api).delete_namespaced_custom_object(
                group, version, where, plural, job.name, body=options
            )
    except ApiException as error:
        if error.status in _GONE:
            return False
        raise
    return True
