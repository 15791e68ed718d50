"""Calls to an API server that is away, forbids, refuses, forgets its history or breaks a stream.

The server is kmock's; a proxy before it drops connections.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Generator
from typing import Any

import pytest
from kmock import RawHandler, Server
from kubernetes import client

from resources.errors import UserError
from resources.launcher.process import ChildFailedError
from resources.launcher.trainjob import api as api_module
from resources.launcher.trainjob.api import Api, UnreachableError
from resources.launcher.trainjob.following import Patience, follow
from resources.launcher.trainjob.job import Job
from resources.launcher.trainjob.logs import LogFollower
from resources.launcher.trainjob.runtimes import find_runtime
from resources.launcher.trainjob.state import State
from tests.support.train_job_examples import full_request

NAME = full_request().name
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs"
PODS = "/api/v1/namespaces/ml/pods"


class Cluster:
    """What the server answers, and what it was asked."""

    def __init__(self, handler: Any, port: int) -> None:
        self.answers = handler
        self.port = port
        self.said: list[str] = []

    def api(self, patience: float = 30.0, port: int | None = None) -> Api:
        settings = client.Configuration(host=f"http://127.0.0.1:{port or self.port}")
        settings.retries = False
        return Api(client.ApiClient(settings), patience=patience, say=self.said.append)

    def job(self, api: Api | None = None) -> Job:
        return Job(api or self.api(), "ml", NAME)

    def lists(self, *jobs: dict[str, Any]) -> None:
        """What each look finds; the last one stays."""
        listed = [{"items": [job], "metadata": {"resourceVersion": "7"}} for job in jobs]
        looks = iter([*listed[:-1], *[listed[-1]] * 1000])

        def answer(request: Any) -> Any:
            return next(looks)

        self.answers[f"get {JOBS}"] << answer
        self.answers[f"get {PODS}"] << {"items": []}
        self.answers["get /api/v1/namespaces/ml/events"] << {"items": []}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(api_module, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def cluster() -> Generator[Cluster]:
    loop, up, box = asyncio.new_event_loop(), threading.Event(), {}

    async def serve() -> None:
        box["end"] = asyncio.Event()
        async with RawHandler() as handler, Server(handler) as server:
            box["cluster"] = Cluster(handler, server.port)
            up.set()
            await box["end"].wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    up.wait(10)
    yield box["cluster"]
    loop.call_soon_threadsafe(box["end"].set)
    thread.join(10)
    loop.close()


def job(**held: str) -> dict[str, Any]:
    stamp = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": stamp}
        for kind, status in held.items()
    ]
    metadata = {"name": NAME, "uid": "u1", "creationTimestamp": stamp}
    return {"metadata": metadata, "spec": {}, "status": {"conditions": conditions}}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_call_outlasts_a_server_that_is_starting(cluster, status):
    cluster.answers["get /x"][:2] << status
    cluster.answers["get /x"] << {"done": True}
    assert cluster.api().call("GET", "/x") == {"done": True}
    away, back = cluster.said
    assert "does not answer" in away
    assert "the job runs on" in away
    assert back == "the Kubernetes API answers again"


def test_a_call_outlasts_dropped_connections(cluster):
    cluster.answers["get /x"] << {"done": True}
    with dropping(3, cluster.port) as port:
        assert cluster.api(port=port).call("GET", "/x") == {"done": True}
    assert len(cluster.said) == 2


def test_patience_ends(cluster):
    cluster.answers["get /x"] << 503
    with pytest.raises(UnreachableError, match="not answered for 0 s"):
        cluster.api(patience=0.1).call("GET", "/x")


def test_a_server_that_nobody_reaches():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = client.Configuration(host=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        settings.retries = False
        with pytest.raises(UnreachableError):
            Api(client.ApiClient(settings), patience=0.1).call("GET", "/x")


def test_what_is_forbidden_is_told_with_its_remedy_and_not_repeated(cluster):
    message = "trainjobs is forbidden: User x cannot create resource trainjobs"
    cluster.answers[f"post {JOBS}"] << 403 << {"message": message}
    with pytest.raises(
        UserError, match=rf"may not do this \(POST .*{message}; grant it in the role"
    ):
        cluster.job().create({"kind": "TrainJob"})
    assert len(cluster.answers) == 1


@pytest.mark.parametrize("status", [400, 422])
def test_what_is_refused_is_told_in_the_servers_words(cluster, status):
    cluster.answers[f"post {JOBS}"] << status << {"message": "spec.trainer.image: Too long"}
    with pytest.raises(UserError, match=r"refuses the TrainJob: spec\.trainer.image: Too long"):
        cluster.job().create({"kind": "TrainJob"})


def test_a_name_that_is_taken_makes_no_job(cluster):
    cluster.answers[f"post {JOBS}"] << 409 << {"message": "already exists"}
    assert cluster.job().create({"kind": "TrainJob"}) is None


def test_a_cluster_without_the_trainer(cluster):
    cluster.answers["get /"] << 404 << {"message": "page not found"}
    cluster.answers << 404
    with pytest.raises(UserError, match="needs Kubeflow Trainer; install it"):
        find_runtime(cluster.api(), full_request())


def test_a_deletion_takes_the_pods_along_and_only_this_job(cluster):
    sent = []

    def take(request: Any) -> Any:
        sent.append(request.data)
        return {}

    cluster.answers[f"delete {JOBS}/{NAME}"] << take
    cluster.answers[f"get {JOBS}"] << {"items": [], "metadata": {"resourceVersion": "1"}}
    assert cluster.job().delete("u1", patience=5.0)
    assert sent == [{"propagationPolicy": "Foreground", "preconditions": {"uid": "u1"}}]


def test_a_deletion_that_does_not_come_to_an_end_is_told(cluster):
    cluster.answers[f"delete {JOBS}/{NAME}"] << {}
    cluster.lists(job())
    assert not cluster.job().delete("u1", patience=0.1)


def test_deleting_what_is_gone_is_done(cluster):
    cluster.answers[f"delete {JOBS}/{NAME}"] << 404 << {"message": "not found"}
    assert cluster.job().delete("u1", patience=5.0)


def followed(cluster: Cluster, **changes: Any) -> tuple[State, list[str]]:
    """Follow the listed jobs to their end."""
    target, asked = cluster.job(), full_request(nodes=1, **changes)
    said: list[str] = []
    state, _ = follow(
        target,
        target.look(),
        asked,
        patience=Patience(look_every=0.1),
        say=said.append,
        seen=lambda _: None,
    )
    return state, said


@pytest.mark.parametrize(
    "expired",
    [
        lambda answer: answer << 410 << {"message": "too old resource version"},
        lambda answer: answer << b'{"type": "ERROR", "object": {"code": 410}}\n',
        lambda answer: answer << 500,
        lambda answer: answer << b"",
        lambda answer: answer << b'{"type": "MODI',
    ],
    ids=["410", "410 in the stream", "500", "nothing", "a torn line"],
)
def test_a_watch_that_has_expired_or_breaks_costs_nothing(cluster, expired):
    expired(cluster.answers[f"get {JOBS}?watch=true"])
    cluster.lists(job(Suspended="True"), job(Suspended="True"), job(Complete="True"))
    now = {"queue_seconds": 1e12, "run_seconds": 1e12}
    state, said = followed(cluster, **now)
    assert state is State.COMPLETE
    assert said == ["suspended: its queue has not admitted it", "complete"]


def test_a_job_that_took_the_others_place_is_not_ours(cluster):
    other = job()
    other["metadata"] = {**other["metadata"], "uid": "u2"}
    cluster.answers[f"get {JOBS}?watch=true"] << b""
    cluster.lists(job(), other)
    assert followed(cluster, queue_seconds=1e12)[0] is State.GONE


def test_what_the_controllers_complain_about_is_in_the_error(cluster):
    """No pod is ever made, and only an event says why."""
    involved = {"name": f"{NAME}-node-0"}
    event = {
        "reason": "FailedCreate",
        "message": "exceeded quota: gpus",
        "involvedObject": involved,
    }
    cluster.answers["get /api/v1/namespaces/ml/events"] << {"items": [event]}
    cluster.answers[f"get {JOBS}?watch=true"] << b""
    cluster.lists(job())
    with pytest.raises(ChildFailedError, match=r"waited .*\(FailedCreate: exceeded quota: gpus\)"):
        followed(cluster, queue_seconds=1.0)


def test_a_log_goes_on_after_its_stream_broke(cluster):
    first = b"2026-01-01T00:00:01Z a\n2026-01-01T00:00:02Z b\n"
    second = b"2026-01-01T00:00:02Z b\n2026-01-01T00:00:02Z b\n2026-01-01T00:00:03Z c\n"
    asked = []

    def answer(request: Any) -> Any:
        asked.append(dict(request.params))
        return first if len(asked) == 1 else second

    cluster.answers[f"get {PODS}/p-0/log"] << answer
    written: list[str] = []
    follower = LogFollower(cluster.api(), "ml", written.append)
    labels = {"batch.kubernetes.io/job-completion-index": "0"}
    state = {"containerStatuses": [{"name": "node", "state": {"running": {}}}], "phase": "Running"}
    node = {"metadata": {"name": "p-0", "uid": "1", "labels": labels}, "status": state}
    follower.see([node])
    wait_for(lambda: len(asked) >= 2)
    follower.see([{**node, "status": {**state, "phase": "Succeeded"}}])
    follower.stop(10.0)
    assert written == ["a", "b", "b", "c"]
    assert "sinceTime" not in asked[0]
    assert asked[1]["sinceTime"] == "2026-01-01T00:00:01Z"


def wait_for(true: Any) -> None:
    for _ in range(1000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not come true")


class dropping:  # noqa: N801 (reads as what it does)
    """A port that drops the first connections and passes the others on."""

    def __init__(self, count: int, target: int) -> None:
        self._count, self._target = count, target
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._accept, daemon=True).start()
        return self._listener.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(self._count):
            connection, _ = self._listener.accept()
            connection.close()
        connection, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._target))
        for source, target in ((connection, server), (server, connection)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
