"""Dagster's programs on the instance of a pipeline of the tests: the three that ``ft ui`` starts.

Started one by one, a test pays for those that it needs, and the daemon can look for backfills more
often than every half minute (see ``quick_daemon``).
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from resources.home import CHECKOUT, shipped
from tests.support.cluster.programs import free_ports, start, stop, wait_until
from tests.support.dagster_server import LOCATION, DagsterServer
from tests.support.tiny_pipeline import TinyPipeline, clean_environment

_HERE = "127.0.0.1"
_OFTEN = {"DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1"}
"""How often the daemon looks for runs to repeat."""


def make_instance(pipeline: TinyPipeline) -> None:
    """The instance's folder, as ``ft`` makes it; but the queue is looked at every second."""
    settings = yaml.safe_load(shipped("dagster.yaml").read_text())
    settings["run_coordinator"] = {
        "module": "dagster",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    }
    folder = pipeline.home / "dagster"
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))


@contextmanager
def code_server(pipeline: TinyPipeline) -> Generator[Path]:
    """The pipeline's definitions, loaded once; yields the workspace file that points to them."""
    (port,) = free_ports(1)
    workspace = pipeline.root / "workspace.yaml"
    where = {"host": _HERE, "port": port, "location_name": LOCATION}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": where}]}))
    command = ["dagster", "api", "grpc", "--host", _HERE, "--port", str(port)]
    command += ["--location-name", LOCATION, "--module-name", "ft_assets.definitions"]
    started = "Started Dagster code server"
    with _program(pipeline, command, lambda log: started in log.read_text()):
        yield workspace


@contextmanager
def daemon(pipeline: TinyPipeline, workspace: Path) -> Generator[None]:
    """Dagster's daemon, from the first heartbeat on of its part that carries out backfills."""
    command = ["python", "-m", "tests.support.quick_daemon", "run", "--workspace", str(workspace)]
    with pipeline.instance() as instance:

        def is_there(_: Path) -> bool:
            return "BACKFILL" in instance.get_daemon_heartbeats()

        with _program(pipeline, command, is_there, _OFTEN):
            yield


@contextmanager
def webserver(pipeline: TinyPipeline, workspace: Path) -> Generator[DagsterServer]:
    """Dagster's webserver, once it answers."""
    (port,) = free_ports(1)
    url = f"http://{_HERE}:{port}"
    command = ["dagster-webserver", "--host", _HERE, "--port", str(port)]
    command += ["--workspace", str(workspace)]
    with _program(pipeline, command, lambda _: _answers(f"{url}/server_info")):
        yield DagsterServer(url)


@contextmanager
def _program(
    pipeline: TinyPipeline,
    command: list[str],
    is_ready: Callable[[Path], bool],
    environment: Mapping[str, str] | None = None,
) -> Generator[None]:
    """A program beside this Python, once ``is_ready`` finds it so, by its log or otherwise."""
    log = pipeline.root / f"{command[0]}.log"
    process = start(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        log,
        cwd=CHECKOUT,
        environment=clean_environment({**pipeline.dagster_environment, **(environment or {})}),
    )
    try:
        wait_until(lambda: is_ready(log), " ".join(command), seconds=120, process=process, log=log)
        yield
    finally:
        stop(process, grace_seconds=60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
