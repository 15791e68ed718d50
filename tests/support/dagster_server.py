"""What a person sees in Dagster's UI, asked for as the browser does: over GraphQL.

For a server that runs already: ``scripts.screenshots.running_ui`` starts ``ft ui``, which is the
webserver, the daemon and the code location.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Found = TypeVar("Found")
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
    return {
        "repositoryName": "__repository__",
        "repositoryLocationName": "ft_assets",
        "sensorName": name,
    }
