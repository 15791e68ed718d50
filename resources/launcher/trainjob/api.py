"""Calls to the Kubernetes API that outlast its absence, and say in words why one was refused.

Everything is plain JSON, as the API sends it. Belongs here: how a call is made, repeated and
explained. Does not belong here: which calls are made (``job``).
"""

from __future__ import annotations

# The client's package has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from resources.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

_FORBIDDEN, _NOT_FOUND, _CONFLICT, _GONE = 403, 404, 409, 410
_REFUSED = (400, 422)
_PASSING = (429, 500, 502, 503, 504)
"""What a restart, an upgrade or a short overload of the API server answers."""
_TIMEOUT = (5, 30)
"""Seconds until a connection stands, and until it says something."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class NotThereError(Exception):
    """The object does not exist."""


class ExistsError(Exception):
    """An object of that name exists already."""


class UnreachableError(Exception):
    """The API did not answer for as long as we had patience."""


class Api:
    """One client of the API, used by one thread."""

    def __init__(
        self, client: ApiClient, *, patience: float, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Use a client.

        Args:
            client: where and as whom.
            patience: how long a call is repeated while the API does not answer, in seconds.
            say: told when the API does not answer, and when it does again.
        """
        self._client = client
        self._patience = patience
        self._say = say

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> dict[str, Any]:
        """One call and its answer; repeated while the API is not there.

        Raises:
            NotThereError, ExistsError: what their names say.
            UserError: it is forbidden, or the API refuses what is sent.
            UnreachableError: no answer within ``patience``.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        began, pause, silent = time.monotonic(), _FIRST_PAUSE, False
        patience = self._patience if patience is None else patience
        while True:
            try:
                answer: dict[str, Any] = json.loads(self._send(method, path, query, body).data)
            except ApiException as error:
                if error.status not in _PASSING:
                    raise _in_words(error, method, path) from error
                why = _message(error)
            except (HTTPError, OSError, json.JSONDecodeError) as error:
                why = f"{type(error).__name__}: {error}"
            else:
                if silent:
                    self._say("the Kubernetes API answers again")
                return answer
            if time.monotonic() - began > patience:
                raise UnreachableError(
                    f"the Kubernetes API has not answered for {patience:.0f} s ({why})"
                )
            if not silent:
                self._say(f"the Kubernetes API does not answer ({why}): the job runs on, trying on")
                silent = True
            time.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 (spreads the callers)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def first_line(self, path: str, query: Mapping[str, str], *, read_seconds: float) -> None:
        """Wait for the first line of a watch, or its end, whatever that is.

        A watch that breaks or has expired (410) ends as well: it only wakes the caller, who looks.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            for _ in self.lines(path, query, read_seconds=read_seconds):
                return
        except (ApiException, HTTPError, OSError):
            time.sleep(_FIRST_PAUSE)  # the look that follows tells what is wrong

    def lines(
        self, path: str, query: Mapping[str, str], *, read_seconds: float | None = None
    ) -> Iterator[bytes]:
        """The lines of a streamed answer as they come; the last may be a part of one.

        Raises:
            ApiException, HTTPError, OSError: the client's own, unrepeated.
        """
        timeout = _TIMEOUT if read_seconds is None else (_TIMEOUT[0], read_seconds)
        response = self._send("GET", path, query, None, timeout)
        rest = b""
        try:
            for chunk in response.stream(amt=None, decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
            if rest:
                yield rest
        finally:
            response.close()
            response.release_conn()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        timeout: tuple[float, float] = _TIMEOUT,
    ) -> Any:
        headers = {"Accept": "application/json"}
        if body is not None:
            patch = method == "PATCH"
            headers["Content-Type"] = (
                "application/merge-patch+json" if patch else "application/json"
            )
        return self._client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _preload_content=False,
            _request_timeout=timeout,
        )


def _in_words(error: ApiException, method: str, path: str) -> Exception:
    message = _message(error)
    if error.status == _NOT_FOUND:
        return NotThereError(message)
    if error.status == _CONFLICT:
        return ExistsError(message)
    if error.status == _FORBIDDEN:
        return UserError(
            f"the service account of the step may not do this ({method} {path}): {message}; grant "
            "it in the role of the platform's pods, or ask for less where a quota says so"
        )
    if error.status in _REFUSED:
        return UserError(f"the Kubernetes API refuses the TrainJob: {message}")
    return RuntimeError(f"the Kubernetes API answered {error.status} to {method} {path}: {message}")


def _message(error: ApiException) -> str:
    """What the API says, without headers."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        said = json.loads(body or "")
    except json.JSONDecodeError:
        said = None
    if isinstance(said, dict) and said.get("message"):
        return str(said["message"])
    return f"{error.status} {error.reason}"
