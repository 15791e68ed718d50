"""A platform on the tests' cluster, as its users have it: runs, and what is seen of them.

Runs are launched through GraphQL, as the UI does it. How the platform gets there: install.py.
"""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.cluster.programs import wait_until
from tests.support.tiny_pipeline import NAME, TinyPipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import dagster as dg
    from kubernetes.client import V1Job, V1Pod

    from tests.support.cluster.node_agent import NodeAgent
    from tests.support.postgres import Postgres
    from tests.support.seaweedfs import SeaweedFS

IMAGE = "ft-assets/orchestrator:test"
TRAINER_IMAGE = "ft-assets/trainer-cpu:test"
DROP = "drop-1"
LOCATION = "ft_assets"


@dataclass
class Platform:
    """A platform that runs."""

    agent: NodeAgent
    namespace: str
    postgres: Postgres
    s3: SeaweedFS
    bucket: str
    folder: Path
    tiny: TinyPipeline
    """Its data and its pipeline file lie on the volume."""
    secrets: dict[str, str]
    """Every secret value by the name of its secret and key."""
    locations: dict[str, str]
    """The modules of the code locations, by name."""
    webserver_port: int = 0
    ports: dict[str, int] = field(default_factory=dict[str, int])
    """Of the code servers, by location."""
    reader: Any = field(default=None, repr=False)

    @property
    def instance(self) -> dg.DagsterInstance:
        """Dagster's storage, for looking."""
        return self.reader

    @property
    def url(self) -> str:
        """Of the webserver."""
        return f"http://127.0.0.1:{self.webserver_port}"

    def s3_client(self) -> Any:
        """boto3's client of the S3 server."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.s3.endpoint_url,
            aws_access_key_id=self.s3.access_key,
            aws_secret_access_key=self.s3.secret_key,
            region_name="us-east-1",
        )

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver; an error in the answer is an error here."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if answer.get("errors"):
            raise RuntimeError(json.dumps(answer["errors"])[:3000])
        return answer["data"]

    def bring_drop(self, pipeline: str = NAME) -> None:
        """Tell Dagster of the drop, as a pipeline's partition."""
        drops = f"{pipeline}_drops"
        self.graphql(_ADD_PARTITION, repository=repository_of(LOCATION), drops=drops, drop=DROP)

    def launch(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        job: str = NAME,
        location: str = LOCATION,
        partition: str | None = DROP,
        select: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Launch a run of all assets or of some; gives its id."""
        all_tags = {**({"dagster/partition": partition} if partition else {}), **(tags or {})}
        answer = self.graphql(
            _LAUNCH,
            params={
                "selector": {
                    **repository_of(location),
                    "jobName": job,
                    "assetSelection": [{"path": [job, asset]} for asset in select] or None,
                },
                "runConfigData": config or {},
                "executionMetadata": {
                    "tags": [{"key": key, "value": value} for key, value in all_tags.items()]
                },
            },
        )["launchRun"]
        if "run" not in answer:
            raise RuntimeError(f"the run was not launched: {answer}")
        return answer["run"]["runId"]

    def cancel(self, run_id: str) -> None:
        """Cancel a run as the UI's button does."""
        answer = self.graphql(_CANCEL, run=run_id)["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise RuntimeError(f"the run was not cancelled: {answer}")

    def wait(self, run_id: str, seconds: float = 600.0) -> dg.DagsterRun:
        """Wait for the end of a run, whatever it is."""
        wait_until(
            lambda: self.run(run_id).is_finished,
            f"the end of run {run_id}",
            seconds=seconds,
            every=0.5,
        )
        return self.run(run_id)

    def run(self, run_id: str) -> dg.DagsterRun:
        """A run as it is now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def messages(self, run_id: str) -> list[str]:
        """What the events of a run say."""
        entries = self.instance.all_logs(run_id)
        return [entry.message or entry.user_message for entry in entries]

    def jobs(self, run_id: str) -> list[V1Job]:
        """The Kubernetes jobs of a run: its own and its steps'."""
        from kubernetes import client

        return (
            client.BatchV1Api(self.agent.core.api_client)
            .list_namespaced_job(self.namespace, label_selector=f"dagster/run-id={run_id}")
            .items
        )

    def step_pods(self, run_id: str) -> dict[str, list[V1Pod]]:
        """Every pod that each step of a run has had, by the asset, also those that went."""
        found: dict[str, list[V1Pod]] = {}
        for pod in self.agent.pods_ever(self.namespace):
            labels = pod.metadata.labels or {}
            if labels.get("dagster/run-id") == run_id and "dagster/op" in labels:
                found.setdefault(labels["dagster/op"].rpartition("__")[2], []).append(pod)
        return found

    def pod_of(self, run_id: str, asset: str | None = None) -> str:
        """The name of the newest pod of a run, or of one of its steps."""
        if asset is not None:
            return self.step_pods(run_id)[asset][-1].metadata.name
        (pod,) = [
            pod
            for pod in self.agent.pods_ever(self.namespace)
            if (labels := pod.metadata.labels or {}).get("dagster/run-id") == run_id
            and "dagster/op" not in labels
        ]
        return pod.metadata.name

    def errors(self, run_id: str) -> list[str]:
        """The errors in the events of a run, with their causes."""
        events = [entry.dagster_event for entry in self.instance.all_logs(run_id)]
        found = [getattr(event.event_specific_data, "error", None) for event in events if event]
        return [error.to_string() for error in found if error is not None]

    def explain(self, run_id: str) -> str:
        """All that helps to understand a run that went wrong."""
        events = [
            f"{event.involved_object.name}: {event.reason}: {event.message}"
            for event in self.agent.core.list_namespaced_event(self.namespace).items
            if event.type != "Normal"
        ]
        pods = [
            pod
            for pod in self.agent.pods_ever(self.namespace)
            if (pod.metadata.labels or {}).get("dagster/run-id") == run_id
        ]
        logs = [
            f"== {pod.metadata.name}\n{self.agent.log(self.namespace, pod.metadata.name)[-1500:]}"
            for pod in pods
        ]
        errors = [error[-3000:] for error in self.errors(run_id)]
        return "\n".join([*self.messages(run_id)[-15:], *errors, *events, *logs])


def repository_of(location: str) -> dict[str, str]:
    """How GraphQL selects a code location."""
    return {"repositoryName": "__repository__", "repositoryLocationName": location}


_LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on PipelineNotFoundError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
_CANCEL = """
mutation ($run: String!) {
  terminateRun(runId: $run) {
    __typename
    ... on TerminateRunFailure { message }
    ... on PythonError { message }
  }
}
"""
_ADD_PARTITION = """
mutation ($repository: RepositorySelector!, $drops: String!, $drop: String!) {
  addDynamicPartition(
    repositorySelector: $repository, partitionsDefName: $drops, partitionKey: $drop
  ) {
    __typename
    ... on PythonError { message }
  }
}
"""
