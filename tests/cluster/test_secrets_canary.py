"""No secret of an installation stands in anything that a run leaves or that the UI tells.

A whole pipeline runs on this machine, with its artifacts in a real S3 server and a canary in the
place of every secret; then all that it left is searched, and what Dagster's own webserver answers.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.home import CHECKOUT
from tests.support.canary import (
    Canaries,
    in_bucket,
    in_graphql,
    in_sqlite,
    in_tree,
    in_values,
)
from tests.support.seaweedfs import seaweedfs
from tests.support.tiny_pipeline import TinyPipeline, clean_environment, make_tiny_pipeline

PROGRAMS = Path(sys.executable).parent
SELECT = "raw_dataset,split_dataset,finetuned_model"
UNUSED = ("HF_TOKEN", "FT_REGISTRY_TOKEN", "DAGSTER_PG_PASSWORD", "WANDB_API_KEY")
"""Secrets that nothing asks for in this run, and that its processes have all the same."""


@dataclass(frozen=True)
class Installation:
    """A pipeline that has run, and the secrets that it ran with."""

    tiny: TinyPipeline
    canaries: Canaries
    environment: dict[str, str]
    client: object
    bucket: str
    output: str

    def everything(self):
        """All places but the webserver."""
        yield from in_values("what the command printed", self.output)
        yield from in_tree(self.tiny.home)
        yield from in_bucket(self.client, self.bucket)


@pytest.fixture(scope="module")
def installation(tmp_path_factory, tiny_base_model):
    import boto3

    tiny = make_tiny_pipeline(tmp_path_factory.mktemp("canary"), tiny_base_model)
    with seaweedfs() as server:
        key, body = signing_key(tiny.root / "secrets")
        canaries = Canaries.make({**server.environment, "FT_SIGNING_KEY": body})
        del canaries.values["AWS_DEFAULT_REGION"]
        client = boto3.Session(server.access_key, server.secret_key).client(
            "s3", endpoint_url=server.endpoint_url, region_name="us-east-1"
        )
        bucket = f"canary-{uuid.uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        environment = clean_environment(
            {
                **tiny.dagster_environment,
                **server.environment,
                **canaries.environment(*UNUSED),
                "AWS_ENDPOINT_URL": server.endpoint_url,
                "FT_STORE": f"s3://{bucket}/artifacts",
                "FT_SIGNING_KEY": str(key),
            }
        )
        (tiny.home / "dagster").mkdir(parents=True)
        (tiny.home / "dagster" / "dagster.yaml").write_bytes(
            (CHECKOUT / "dagster.yaml").read_bytes()
        )
        output = run(tiny, environment, "--select", SELECT)
        yield Installation(tiny, canaries, environment, client, bucket, output)


def signing_key(folder: Path) -> tuple[Path, str]:
    """A private key in a file, and a line of it that nothing else holds."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir()
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(pem)
    return folder / "key.pem", pem.decode().splitlines()[1]


def run(tiny: TinyPipeline, environment, *arguments: str) -> str:
    done = subprocess.run(
        [str(PROGRAMS / "ft"), "run", "tiny", "--json", *arguments],
        env=environment,
        cwd=tiny.root,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@contextmanager
def webserver(installation: Installation):
    """Dagster's own, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [
            *(PROGRAMS / "dagster-webserver", "-h", "127.0.0.1", "-p", str(port)),
            *("-m", "ft_assets.definitions"),
        ],
        env=installation.environment,
        cwd=installation.tiny.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            assert process.poll() is None, "the webserver ended"
            try:
                urllib.request.urlopen(f"{url}/server_info", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()


def told(leaks) -> list[str]:
    return sorted({str(leak) for leak in leaks})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_secret_stands_in_what_a_run_leaves(installation):
    assert told(installation.canaries.leaks(installation.everything())) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_secret_is_told_by_the_webserver(installation):
    with webserver(installation) as url:
        answers = list(in_graphql(url))
    (runs,) = [content for where, content in answers if where == "GraphQL runs"]
    assert b"finetuned_model" in runs, "it does tell of the run"
    assert any(where.startswith("GraphQL log") for where, _ in answers)
    assert told(installation.canaries.leaks(answers)) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_search_looks_where_secrets_would_be(installation):
    """What every place does hold is found in each of them."""
    marks = Canaries({"the drop": "drop-1"})
    places = told(marks.leaks(installation.everything()))
    assert any("s3://" in found for found in places), "the store"
    assert any(" of runs in " in found for found in places), "rows of Dagster's storage of runs"
    assert any(" of event_logs in " in found for found in places), "rows of its event log"


FORMS = {
    "plain": lambda secret: secret.encode(),
    "base64 of it alone": lambda secret: base64.b64encode(secret.encode()),
    "base64 of a text around it": lambda secret: base64.b64encode(f"ab{secret}!".encode()),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(f"x{secret}".encode()),
    "in a URL": lambda secret: urllib.parse.quote(secret, safe="").encode(),
    "in a form": lambda secret: urllib.parse.urlencode({"k": secret}).encode(),
    "repr": lambda secret: repr({"k": secret}).encode(),
    "JSON": lambda secret: json.dumps({"k": secret}).encode(),
    "JSON within JSON": lambda secret: json.dumps(json.dumps({"k": secret})).encode(),
    "hexadecimal": lambda secret: secret.encode().hex().encode(),
    "packed": lambda secret: gzip.compress(f"before {secret} after".encode()),
}
CANARIES = Canaries.make()


@pytest.mark.parametrize("name", CANARIES.values)
@pytest.mark.parametrize("form", FORMS)
def test_a_canary_that_leaked_is_found(form, name):
    content = b"before " + FORMS[form](CANARIES.values[name]) + b" after"
    if form == "packed":
        content = FORMS[form](CANARIES.values[name])
    leaks = CANARIES.leaks([("here", content)])
    assert [leak.secret for leak in leaks] == [name]


def test_a_canary_in_a_file_a_row_and_a_pod_is_found_and_its_place_is_named(tmp_path):
    secret = CANARIES.values["HF_TOKEN"]
    (tmp_path / "run" / "logs").mkdir(parents=True)
    (tmp_path / "run" / "logs" / "step.err").write_text(f"token={secret}")
    database = sqlite3.connect(tmp_path / "runs.db")
    database.execute("CREATE TABLE runs (body TEXT)")
    database.execute("INSERT INTO runs VALUES (?)", ["x" * 10_000 + secret])
    database.commit()
    database.close()
    pod = {"spec": {"containers": [{"env": [{"name": "HF_TOKEN", "value": secret}]}]}}

    places = [leak.where for leak in CANARIES.leaks(in_tree(tmp_path))]
    assert str(tmp_path / "run" / "logs" / "step.err") in places
    assert [leak.where for leak in CANARIES.leaks(in_sqlite(tmp_path / "runs.db"))] == [
        f"row 0 of runs in {tmp_path / 'runs.db'}"
    ]
    assert [str(leak) for leak in CANARIES.leaks(in_values("pod x", pod))] == [
        "HF_TOKEN (plain) in pod x"
    ]


def test_a_presigned_url_is_a_secret_in_each_of_its_parameters():
    url = CANARIES.presigned("https://bucket.example/model.bin")
    found = {leak.secret for leak in CANARIES.leaks([("a log", url.encode())])}
    assert found == {"X-Amz-Signature", "X-Amz-Security-Token"}
