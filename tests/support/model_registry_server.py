"""A Model Registry server on this machine, for tests: its HTTP interface over ``Store``.

It speaks ``v1`` or ``v1alpha3`` (or both) for models, versions and model artifacts. It can be told
to fail a request before or after it is carried out: with 500 or 429, or by breaking the connection.
Experiments, inference services and filterQuery are not there: nothing asks for them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.support.model_registry_store import (
    ARTIFACT,
    MODEL,
    VERSION,
    Kind,
    RefusedError,
    Store,
    number_of,
    page,
    shown,
)

When = Literal["before", "after"]
How = Literal["500", "429", "drop"]
_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


@dataclass(frozen=True)
class Fault:
    """How one request goes wrong: whether the server carries it out first, and what is answered."""

    when: When
    how: How
    retry_after: str | None = None


@dataclass
class ModelRegistryServer:
    """A running server. Its store and its faults may be changed while it runs."""

    versions: tuple[str, ...] = ("v1",)
    store: Store = field(default_factory=Store)
    url: str = ""
    token: str | None = None
    """When set, requests need it as their bearer token."""
    longest_page: int = 1000
    faults: dict[int, Fault] = field(default_factory=dict[int, Fault])
    """By the number of the request, from 0, since the last ``forget``."""
    fault_for_all: Fault | None = None
    on_request: Callable[[int, When], None] | None = None
    """Called with each request's number before it is carried out, and before it is answered."""
    requests: list[str] = field(default_factory=list[str])
    """What was asked for, as ``METHOD path``."""

    def forget(self) -> None:
        """Count requests from 0 again, and let none fail."""
        self.requests.clear()
        self.faults.clear()
        self.fault_for_all = self.on_request = None

    def writes(self) -> list[str]:
        """The requests that change something."""
        return [request for request in self.requests if not request.startswith("GET ")]


def application(server: ModelRegistryServer) -> Starlette:
    """The server's interface as an ASGI application."""
    roots = [f"/api/model_registry/{version}" for version in server.versions]
    handlers = _handlers(server)
    routes = [
        Route(f"{root}{path}", _answering(server, handler), methods=[method])
        for root in roots
        for (method, path), handler in handlers.items()
    ]
    return Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route})


Handler = Callable[[Request, object], tuple[int, object]]


def _handlers(server: ModelRegistryServer) -> dict[tuple[str, str], Handler]:
    store = server.store

    def listed(kind: Kind, request: Request) -> tuple[int, object]:
        table = {MODEL: store.models, VERSION: store.versions}[kind]
        return 200, page(table.values(), dict(request.query_params), server.longest_page)

    def under(kind: Kind, parent: Kind, request: Request) -> tuple[int, object]:
        number = number_of(request.path_params["id"])
        store.get(parent, number)
        params = dict(request.query_params)
        wanted = {n: params[n] for n in ("name", "externalId") if n in params}
        children = [
            child
            for child in store.children(kind, number)
            if all(child.get(name) == value for name, value in wanted.items())
        ]
        return 200, page(children, params, server.longest_page)

    def find_model(request: Request, body: object) -> tuple[int, object]:
        params = request.query_params
        if not params.keys() & {"name", "externalId"}:
            raise RefusedError(404, "supply either name or externalId: not found")
        found = store.find(MODEL, name=params.get("name"), externalId=params.get("externalId"))
        return 200, shown(found)

    def find_version(request: Request, body: object) -> tuple[int, object]:
        params = request.query_params
        if "externalId" not in params and not {"name", "parentResourceId"} <= params.keys():
            raise RefusedError(400, "supply either (name and parentResourceId), or externalId")
        found = store.find(
            VERSION,
            name=params.get("name"),
            registeredModelId=params.get("parentResourceId"),
            externalId=params.get("externalId"),
        )
        return 200, shown(found)

    def create_version(request: Request, body: object) -> tuple[int, object]:
        parent = number_of(body.get("registeredModelId") if isinstance(body, dict) else None)
        if parent not in store.models:
            raise RefusedError(400, f"no registered model found for id {parent}")
        return 201, shown(store.create(VERSION, body, parent))

    def create_under(kind: Kind, parent: Kind, request: Request, body: object):
        number = number_of(request.path_params["id"])
        store.get(parent, number)
        if kind is ARTIFACT and isinstance(body, dict) and "id" in body:
            own = number_of(body["id"])
            if own not in store.artifacts:
                raise RefusedError(400, f"no artifact found for id {own}")
            return 200, shown(store.update(ARTIFACT, own, body))
        return 201, shown(store.create(kind, body, number))

    def one(kind: Kind, request: Request) -> tuple[int, object]:
        return 200, shown(store.get(kind, number_of(request.path_params["id"])))

    def changed(kind: Kind, request: Request, body: object) -> tuple[int, object]:
        return 200, shown(store.update(kind, number_of(request.path_params["id"]), body))

    return {
        ("GET", "/registered_model"): find_model,
        ("GET", "/registered_models"): lambda r, b: listed(MODEL, r),
        ("POST", "/registered_models"): lambda r, b: (201, shown(store.create(MODEL, b))),
        ("GET", "/registered_models/{id}"): lambda r, b: one(MODEL, r),
        ("PATCH", "/registered_models/{id}"): lambda r, b: changed(MODEL, r, b),
        ("GET", "/registered_models/{id}/versions"): lambda r, b: under(VERSION, MODEL, r),
        ("POST", "/registered_models/{id}/versions"): lambda r, b: create_under(
            VERSION, MODEL, r, b
        ),
        ("GET", "/model_version"): find_version,
        ("GET", "/model_versions"): lambda r, b: listed(VERSION, r),
        ("POST", "/model_versions"): create_version,
        ("GET", "/model_versions/{id}"): lambda r, b: one(VERSION, r),
        ("PATCH", "/model_versions/{id}"): lambda r, b: changed(VERSION, r, b),
        ("GET", "/model_versions/{id}/artifacts"): lambda r, b: under(ARTIFACT, VERSION, r),
        ("POST", "/model_versions/{id}/artifacts"): lambda r, b: create_under(
            ARTIFACT, VERSION, r, b
        ),
        ("GET", "/model_artifacts/{id}"): lambda r, b: one(ARTIFACT, r),
        ("PATCH", "/model_artifacts/{id}"): lambda r, b: changed(ARTIFACT, r, b),
    }


def _answering(server: ModelRegistryServer, handler: Handler):
    async def answer(request: Request) -> Response:
        raw = await request.body()
        number = len(server.requests)
        server.requests.append(f"{request.method} {request.url.path}")
        fault = server.faults.get(number, server.fault_for_all)
        if server.on_request is not None:
            server.on_request(number, "before")
        if fault is not None and fault.when == "before":
            return _failed(fault)
        try:
            _refuse_stranger(server, request)
            status, body = handler(request, _parsed(raw))
        except RefusedError as error:
            status, body = error.status, _error(error.status, str(error))
        if server.on_request is not None:
            server.on_request(number, "after")
        return JSONResponse(body, status) if fault is None else _failed(fault)

    return answer


def _parsed(raw: bytes) -> object:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise RefusedError(400, "the body is no JSON") from error


def _refuse_stranger(server: ModelRegistryServer, request: Request) -> None:
    given = request.headers.get("Authorization", "")
    if server.token is not None and given != f"Bearer {server.token}":
        raise RefusedError(401, "unauthorized")


def _failed(fault: Fault) -> Response:
    if fault.how == "drop":
        return _BrokenOff()
    status = int(fault.how)
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    return JSONResponse(_error(status, "told to fail"), status, headers)


class _BrokenOff(Response):
    """Promises more than it sends; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"1000"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": False})


def _error(status: int, message: str) -> dict[str, str]:
    return {"code": _REASONS[status], "message": message}


async def _no_route(request: Request, error: Exception) -> Response:
    return Response("404 page not found", 404)


@contextmanager
def model_registry_server(
    *versions: str, certificate: Path | None = None, key: Path | None = None
) -> Generator[ModelRegistryServer]:
    """Serve on a free port of this machine, in a thread, until the block ends."""
    server = ModelRegistryServer(versions or ("v1",))
    config = uvicorn.Config(
        application(server),
        host="127.0.0.1",
        port=0,
        log_level="critical",
        lifespan="off",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.005)
    port = running.servers[0].sockets[0].getsockname()[1]
    server.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join()
