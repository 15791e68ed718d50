"""What a person sees and does in Dagster's UI, as the browser does it: over GraphQL.

For a server that runs already: ``scripts.screenshots.running_ui`` starts ``ft ui``, which is the
webserver, the daemon and the code location; ``tests.support.daemon`` starts each by itself.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.support.cluster.programs import wait_until

Found = TypeVar("Found")
LOCATION = "ft_assets"
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
_OVER = {"SUCCESS", "FAILURE", "CANCELED"}
_RUNS = """query($filter: RunsFilter!) { runsOrError(filter: $filter) {
  ... on Runs { results { runId status tags { key value } } } ... on PythonError { message } } }"""
_FAILURES = """query($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events {
  ... on ExecutionStepFailureEvent { stepKey error { message causes { message } }
    failureMetadata { description } }
  ... on RunFailureEvent { error { message } } } } } } }"""
_CHECKS = """query($key: AssetKeyInput!, $name: String!, $partition: String) {
  assetCheckExecutions(assetKey: $key, checkName: $name, partition: $partition, limit: 20) {
    runId status evaluation { success severity description } } }"""
_SENSOR = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
  ... on Sensor { sensorState { status ticks(limit: 10) {
    tickId status skipReason runKeys error { message } } } }
  ... on SensorNotFoundError { message } ... on PythonError { message } } }"""
_START = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) {
  __typename ... on PythonError { message } } }"""
_EVENTS = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetObservations(limit: 20) { metadataEntries { label ... on TextMetadataEntry { text } } } } } }
"""
_ADD_DROP = """mutation($repository: RepositorySelector!, $drops: String!, $drop: String!) {
  addDynamicPartition(
    repositorySelector: $repository, partitionsDefName: $drops, partitionKey: $drop
  ) { __typename ... on PythonError { message } } }"""
_LAUNCH = """mutation($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) { __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PartitionKeysNotFoundError { message } ... on PythonError { message } } }"""
_BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status error { message } }
  ... on BackfillNotFoundError { message } ... on PythonError { message } } }"""
_PARTITIONS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions unmaterializedPartitions } } } } }"""
_MATERIALIZATIONS = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(limit: 1000) { partition metadataEntries {
    label ... on BoolMetadataEntry { boolValue } } } } } }"""


@dataclass(frozen=True)
class DagsterServer:
    """A running webserver, and the pipelines of one code location."""

    url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """What the webserver answers; an error in the answer is an error here."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert not answer.get("errors"), json.dumps(answer["errors"])[:3000]
        return answer["data"]

    def runs(self, pipeline: str, drop: str | None = None) -> list[dict[str, Any]]:
        """The runs of a pipeline, the newest first; ``tags`` by their keys."""
        tags = [{"key": "pipeline", "value": pipeline}]
        tags += [{"key": "dagster/partition", "value": drop}] if drop is not None else []
        found = self.ask(_RUNS, filter={"tags": tags})["runsOrError"]
        assert "results" in found, found
        return [
            {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}
            for run in found["results"]
        ]

    def failures(self, run_id: str) -> list[str]:
        """What the failed steps of a run say on its page."""
        run = self.ask(_FAILURES, id=run_id)["runOrError"]
        said: list[str] = []
        for event in run["eventConnection"]["events"]:
            error = event.get("error")
            if error:
                said += [error["message"], *[cause["message"] for cause in error.get("causes", [])]]
            if event.get("failureMetadata"):
                said.append(str(event["failureMetadata"]["description"]))
        return said

    def check(self, key: Sequence[str], name: str, partition: str) -> dict[str, Any]:
        """How a check of a drop ended last, with the reason that its page shows."""
        executions = self.ask(_CHECKS, key={"path": list(key)}, name=name, partition=partition)
        newest = executions["assetCheckExecutions"][0]
        return {**newest["evaluation"], "run_id": newest["runId"], "status": newest["status"]}

    def observations(self, key: Sequence[str]) -> list[dict[str, str]]:
        """The texts of an asset's observations, the newest first."""
        asset = self.ask(_EVENTS, key={"path": list(key)})["assetOrError"]
        return [
            {entry["label"]: entry["text"] for entry in one["metadataEntries"] if "text" in entry}
            for one in asset["assetObservations"]
        ]

    def sensor(self, name: str) -> dict[str, Any]:
        """Whether a sensor is on, and its ticks, the newest first."""
        found = self.ask(_SENSOR, sensor=_sensor(name))["sensorOrError"]
        assert "sensorState" in found, found
        return found["sensorState"]

    def switch_on(self, sensor: str) -> None:
        """As a person does in the UI."""
        started = self.ask(_START, sensor=_sensor(sensor))["startSensor"]
        assert started["__typename"] == "Sensor", started

    def add_drop(self, pipeline: str, drop: str) -> None:
        """As the dialog does before a drop that no run has used can be chosen."""
        drops = f"{pipeline}_drops"
        added = self.ask(_ADD_DROP, repository=_REPOSITORY, drops=drops, drop=drop)
        said = added["addDynamicPartition"]
        assert said["__typename"] == "AddDynamicPartitionSuccess", said

    def launch_backfill(self, keys: Sequence[Sequence[str]], drops: Sequence[str]) -> str:
        """What the button in the dialog does for chosen assets and drops; gives the id."""
        params = {
            "tags": [{"key": "dagster/from_ui", "value": "true"}],
            "assetSelection": [{"path": list(key)} for key in keys],
            "partitionNames": list(drops),
            "fromFailure": False,
        }
        launched = self.ask(_LAUNCH, backfillParams=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def wait_for_backfill(self, backfill_id: str, seconds: float = 300) -> dict[str, Any]:
        """Wait until the daemon has done all of it; gives its status then, and its error."""

        def ask() -> dict[str, Any]:
            return self.ask(_BACKFILL, id=backfill_id)["partitionBackfillOrError"]

        def over() -> bool:
            return ask()["status"] not in {"REQUESTED", "CANCELING", "FAILING"}

        wait_until(over, f"the end of the backfill {backfill_id}", seconds=seconds, every=1.0)
        return ask()

    def partitions(self, key: Sequence[str]) -> dict[str, list[str]]:
        """Which drops of an asset are materialized, which failed and which are missing."""
        asset = self.ask(_PARTITIONS, key={"path": list(key)})["assetNodeOrError"]
        return asset["assetPartitionStatuses"]

    def found_up_to_date(self, key: Sequence[str]) -> list[tuple[str, bool]]:
        """Per materialization of an asset: the drop, and whether it cost nothing."""
        asset = self.ask(_MATERIALIZATIONS, key={"path": list(key)})["assetOrError"]
        return [
            (one["partition"], entry["boolValue"])
            for one in asset["assetMaterializations"]
            for entry in one["metadataEntries"]
            if entry["label"] == "up_to_date"
        ]

    def wait_for_run(self, pipeline: str, drop: str, number: int = 1, seconds: float = 600) -> str:
        """Wait until the ``number``-th run of a drop is over; gives its id.

        Raises:
            AssertionError: it is not over in time; says what was seen of runs and ticks.
        """

        def over() -> str | None:
            runs = self.runs(pipeline, drop)
            done = len(runs) >= number and runs[0]["status"] in _OVER
            return runs[0]["runId"] if done else None

        what = f"run {number} of {pipeline}, drop {drop}, to be over"
        return self.wait_until(over, what, pipeline, seconds)

    def wait_until(
        self, look: Callable[[], Found | None], what: str, pipeline: str, seconds: float = 120
    ) -> Found:
        """Look every second until there is something."""
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            if time.monotonic() > deadline:
                runs = [
                    (run["tags"].get("dagster/partition"), run["status"])
                    for run in self.runs(pipeline)
                ]
                sensor = self.sensor(f"{pipeline}_new_data")
                raise AssertionError(
                    f"waited {seconds:.0f} s for {what}; its runs: {runs}; its sensor is "
                    f"{sensor['status']}, and its newest looks: {sensor['ticks'][:5]}"
                )
            time.sleep(1)
        return found


def _sensor(name: str) -> dict[str, str]:
    return {**_REPOSITORY, "sensorName": name}
