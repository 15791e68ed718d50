"""HTTP to a Model Registry server: TLS, token, retries, and one clear error per kind of failure.

Belongs here: what is the same for every request. Does not belong here: which requests there are
(``api.py``). The package's own client is not used for this: its wrapper patches asyncio for the
whole process, reads the token once and turns TLS verification off with ``is_secure=False``.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httpx

from resources.errors import UserError
from resources.registry.kubeflow.tls import context_for

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from resources.registry.kubeflow.token import TokenSource

_LONGEST_PAUSE = 30.0
_SHOWN = 300
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

Json = dict[str, Any]


class NotFoundError(Exception):
    """The server has no such thing (404)."""


class ConflictError(Exception):
    """The server has one already: another name or external id is taken (409)."""


class UnsettledError(Exception):
    """A failure that may pass; whether the server did what was asked is not known."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for one answer, and how often to ask again."""

    timeout: float
    """Seconds for one request."""
    retries: int
    """Tries after the first."""
    first_pause: float
    """Seconds before the second try at most; doubled for each further one."""


class Backoff:
    """The pauses of one piece of work: each is random up to a bound that doubles."""

    def __init__(self, url: str, patience: Patience) -> None:
        self._url, self._patience, self._used = url, patience, 0

    def wait(self, error: UnsettledError) -> None:
        """Pause before the next try; UserError when there is none left."""
        if self._used == self._patience.retries:
            raise UserError(
                f"model registry {self._url}: {error} ({self._used + 1} tries): check "
                "registry.address, or run again when the server is back; what was registered so "
                "far is completed then"
            ) from error
        bound = min(self._patience.first_pause * 2**self._used, _LONGEST_PAUSE)
        pause = random.uniform(0, bound)  # noqa: S311 - spreads tries, protects nothing
        self._used += 1
        time.sleep(max(pause, min(error.retry_after or 0.0, _LONGEST_PAUSE)))


class Transport:
    """A connection to one server, open until the block ends."""

    def __init__(self, url: str, token: TokenSource, custom_ca: str, patience: Patience) -> None:
        self.url = url
        self._token = token
        self._custom_ca = custom_ca
        self._patience = patience
        self._client = httpx.Client(verify=context_for(url, custom_ca), timeout=patience.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def backoff(self) -> Backoff:
        """Pauses for work that has its own way to try again."""
        return Backoff(self.url, self._patience)

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        """Ask, as often as the patience allows.

        Raises:
            NotFoundError: the server says 404.
            UserError: no answer that can be used.
        """
        return self._again_and_again("GET", path, params, None)

    def patch(self, path: str, body: Json) -> Json:
        """Change, as often as the patience allows: the same change twice is one change."""
        return self._again_and_again("PATCH", path, None, body)

    def post_once(self, path: str, body: Json) -> Json:
        """Create, once: who gets no answer must look whether it is there before trying again.

        Raises:
            ConflictError: there is one already.
            UnsettledError: no answer, or one that may pass.
            UserError: the server refuses for good, or has no such path (404).
        """
        return self._once("POST", path, None, body)

    def _again_and_again(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Json | None
    ) -> Json:
        backoff = self.backoff()
        while True:
            try:
                return self._once(method, path, params, body)
            except UnsettledError as error:
                backoff.wait(error)

    def _once(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Json | None
    ) -> Json:
        token = self._token.read()
        response = self._send(method, path, params, body, token)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            renewed = self._token.read()
            if renewed != token:  # replaced while the request was on its way
                response = self._send(method, path, params, body, renewed)
        return self._answer(response, method, path)

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Json | None,
        token: str | None,
    ) -> httpx.Response:
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            return self._client.request(
                method, f"{self.url}{path}", params=params, json=body, headers=headers
            )
        except httpx.TransportError as error:
            self._refuse_for_good(error)
            reason = str(error) or type(error).__name__
            raise UnsettledError(f"no answer: {reason}") from error

    def _refuse_for_good(self, error: httpx.TransportError) -> None:
        """Raise UserError for failures that do not pass by waiting."""
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                known = (
                    f"custom_ca {self._custom_ca} did not sign its certificate, or not for this "
                    "host"
                    if self._custom_ca
                    else "no authority that this machine knows signed its certificate for this "
                    "host: name the server's authority in custom_ca"
                )
                raise UserError(
                    f"model registry {self.url}: TLS failed, {known} ({cause.verify_message})"
                ) from error
            if isinstance(cause, ssl.SSLError) and cause.reason in (
                "WRONG_VERSION_NUMBER",
                "RECORD_LAYER_FAILURE",
                "HTTP_REQUEST",
            ):
                raise UserError(
                    f"model registry {self.url}: TLS failed, the server does not speak https "
                    "there: check the port, or write http:// in the address where that is meant"
                ) from error
            if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
                raise UserError(
                    f"model registry {self.url}: no host has this name: check registry.address"
                ) from error

    def _answer(self, response: httpx.Response, method: str, path: str) -> Json:
        """The body of a good answer; what a bad one means."""
        status, asked = response.status_code, f"{method} {path}"
        where = f"model registry {self.url}"
        if status in _REFUSED:
            raise UserError(
                f"{where} refuses the request ({status}): check {self._token.name} and the rights "
                "of its owner"
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UnsettledError(
                f"the server answers {status} to {asked}: {_message(response)}",
                _retry_after(response),
            )
        if status == HTTPStatus.NOT_FOUND:
            if method != "GET":
                raise UserError(
                    f"{where} answers 404 to {asked}: {_message(response)}: somebody has deleted "
                    "it meanwhile, or a gateway lets no writes through: run again"
                )
            raise NotFoundError(_message(response))
        if status == HTTPStatus.CONFLICT:
            if method != "POST":
                raise UserError(
                    f"{where} answers 409 to {asked}: {_message(response)}: somebody changes it at "
                    "the same moment: run again"
                )
            raise ConflictError(_message(response))
        if not response.is_success:
            redirected = ", a redirection that is not followed" if response.is_redirect else ""
            raise UserError(
                f"{where} answers {status}{redirected} to {asked}: {_message(response)}"
            )
        try:
            body = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            body = None
        if not isinstance(body, dict):
            raise UserError(
                f"{where} answers {asked} with something else than a Model Registry does: check "
                "registry.address and registry.port"
            )
        return cast("Json", body)


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _message(response: httpx.Response) -> str:
    """What the server says, in so many characters."""
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = None
    if isinstance(body, dict) and "message" in body:
        text = str(cast("Json", body)["message"])
    else:
        text = response.reason_phrase
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _retry_after(response: httpx.Response) -> float | None:
    """The pause that the server asks for, in seconds: a number, or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
