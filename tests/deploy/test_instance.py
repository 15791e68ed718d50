"""deploy/dagster.yaml with a real PostgreSQL and S3: what a run leaves, and the UI reads."""

import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import psycopg2
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_aws.s3 import S3ComputeLogManager
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_webserver.webserver import DagsterWebserver
from starlette.testclient import TestClient

from tests.deploy.manifests import DEPLOY, NAMESPACE, named
from tests.support.postgres import Postgres
from tests.support.seaweedfs import seaweedfs

FILE = DEPLOY / "dagster.yaml"
BUCKET = "platform"


@dg.op
def speak() -> None:
    print("the step said this")


@dg.job
def small() -> None:
    speak()


@dataclass(frozen=True)
class Production:
    """The instance after one run. Read only: all tests share it."""

    instance: dg.DagsterInstance
    home: Path
    staging: Path
    """Where logs lie before they are in S3."""
    postgres: Postgres
    s3: Any
    run_id: str


@pytest.fixture(scope="module")
def production(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Production]:
    home = tmp_path_factory.mktemp("dagster-home")
    staging = tmp_path_factory.mktemp("logs")
    text = FILE.read_text()
    assert "local_dir: /tmp/logs" in text
    (home / "dagster.yaml").write_text(text.replace("/tmp/logs", str(staging)))
    database = postgres.new_database()
    with seaweedfs() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in {
            **server.environment,
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "DAGSTER_LOGS_BUCKET": BUCKET,
            "DAGSTER_PG_HOST": database.host,
            "DAGSTER_PG_PORT": str(database.port),
            "DAGSTER_PG_USERNAME": database.user,
            "DAGSTER_PG_PASSWORD": database.password,
            "DAGSTER_PG_DB": database.dbname,
            "FT_NAMESPACE": NAMESPACE,
        }.items():
            environment.setenv(name, value)
        # Dagster asks through boto3's own session, which keeps the credentials that it saw first.
        environment.setattr(boto3, "DEFAULT_SESSION", None)
        s3 = boto3.session.Session().client("s3")
        s3.create_bucket(Bucket=BUCKET)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            result = small.execute_in_process(instance=instance)
            yield Production(instance, home, staging, database, s3, result.run_id)


def graphql(production: Production, query: str, **variables: Any) -> Any:
    """What Dagster's webserver answers."""
    with WorkspaceProcessContext(production.instance, EmptyWorkspaceTarget()) as context:
        app = DagsterWebserver(context).create_asgi_app()
        answer = TestClient(app).post("/graphql", json={"query": query, "variables": variables})
    body = answer.json()
    assert "errors" not in body, body
    return body["data"]


def test_dagster_knows_every_key_of_it(tmp_path: Path):
    (tmp_path / "dagster.yaml").write_text(FILE.read_text())
    dagster_instance_config(str(tmp_path))  # checks names and types

    wrong = yaml.safe_load(FILE.read_text())
    wrong["run_monitoring"]["start_timeout_secs"] = 1
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(dg.DagsterInvalidConfigError, match="start_timeout_secs"):
        dagster_instance_config(str(tmp_path))


def test_every_variable_that_it_reads_is_given_to_the_pods():
    given = {
        *named("ConfigMap", "ft-assets-env")["data"],
        "DAGSTER_PG_PASSWORD",  # the launcher and the deployments set it from the secret
    }
    assert variables(yaml.safe_load(FILE.read_text())) <= given


def variables(thing: Any) -> set[str]:
    """The environment variables that a part of the file names."""
    if isinstance(thing, dict):
        if set(thing) == {"env"}:
            return {thing["env"]}
        return set().union(*map(variables, thing.values()))
    return set().union(*map(variables, thing)) if isinstance(thing, list) else set()


def test_the_events_of_a_run_are_in_postgresql(production: Production):
    assert isinstance(production.instance.event_log_storage, PostgresEventLogStorage)
    with psycopg2.connect(production.postgres.url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT dagster_event_type FROM event_logs WHERE run_id = %s", (production.run_id,)
        )
        kinds = {kind for (kind,) in cursor.fetchall()}
        cursor.execute("SELECT status FROM runs WHERE run_id = %s", (production.run_id,))
        assert cursor.fetchall() == [("SUCCESS",)]
    assert {"STEP_START", "STEP_SUCCESS", "PIPELINE_SUCCESS", "LOGS_CAPTURED"} <= kinds


def test_what_a_step_printed_is_in_s3(production: Production):
    assert isinstance(production.instance.compute_log_manager, S3ComputeLogManager)
    listed = production.s3.list_objects_v2(Bucket=BUCKET, Prefix="logs/")["Contents"]
    (out,) = [entry["Key"] for entry in listed if entry["Key"].endswith(".out")]
    assert production.run_id in out
    body = production.s3.get_object(Bucket=BUCKET, Key=out)["Body"].read()
    assert b"the step said this" in body


def test_the_ui_reads_both_back(production: Production):
    answer = graphql(
        production,
        """query($run: ID!) { runOrError(runId: $run) { ... on Run { status eventConnection {
            events { __typename ... on LogsCapturedEvent { logKey: fileKey } } } } } }""",
        run=production.run_id,
    )
    run = answer["runOrError"]
    (captured,) = [e for e in run["eventConnection"]["events"] if "logKey" in e]
    assert run["status"] == "SUCCESS"

    key = [production.run_id, "compute_logs", captured["logKey"]]
    # The webserver has another disk than the step: it fetches the log from S3.
    shutil.rmtree(production.staging)
    logs = graphql(
        production,
        "query($key: [String!]!) { capturedLogs(logKey: $key) { stdout } }",
        key=key,
    )
    assert "the step said this" in logs["capturedLogs"]["stdout"]


def test_the_pools_the_queue_and_the_timeouts_are_in_force(production: Production):
    instance = production.instance
    config = instance.get_concurrency_config()
    assert config.pool_config.default_pool_limit == 1
    assert config.run_queue_config is not None
    assert config.run_queue_config.max_concurrent_runs == 25
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_start_timeout_seconds == 600
    assert instance.run_monitoring_max_runtime_seconds == 14 * 86_400
    assert instance.run_retries_enabled
    assert not instance.run_retries_retry_on_asset_or_op_failure
    instance.event_log_storage.set_concurrency_slots("gpu", 8)
    assert instance.event_log_storage.get_concurrency_info("gpu").slot_count == 8


def test_nothing_is_written_beside_the_file_whose_folder_is_read_only(production: Production):
    assert [file.name for file in production.home.iterdir()] == ["dagster.yaml"]


def test_the_password_is_nowhere_but_in_the_environment(production: Production):
    reference = json.dumps(production.instance.get_ref().to_dict(), default=str)
    assert "DAGSTER_PG_PASSWORD" in reference
    assert production.postgres.password not in reference
