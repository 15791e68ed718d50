"""The log of node 0, followed to the step's own log: no line lost, none twice.

A stream of a log breaks: the API server restarts, a proxy ends long connections, the kubelet
rotates its files. It is opened again from just before the last line, and what was written already
is told by its timestamp and text. A pod that takes another's place has a log of its own.
"""

from __future__ import annotations

# The client's package has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from resources.launcher.trainjob import pods
from resources.launcher.trainjob.api import Api
from resources.launcher.trainjob.job import INDEX_LABEL
from resources.launcher.trainjob.manifest import NODE

_SILENCE_SECONDS = 20.0
"""A stream that says nothing for so long is opened again."""
_PAUSE_SECONDS = 1.0
_LAST_SECONDS = 2.0
"""For the last lines of a job that is deleted while it runs."""


class Lines:
    """Tells new lines from those that were written before a stream broke: pure.

    Lines of stdout and stderr come a little out of order, so that a line counts as seen when its
    timestamp and text were, and not when it is older than the last.
    """

    def __init__(self) -> None:
        self._newest: datetime | None = None
        self._recent: list[tuple[datetime, str]] = []
        """The lines since ``since``, as they came: what a reopened stream repeats."""
        self._again: Counter[str] = Counter()
        self._from: datetime | None = None
        """What is older was written before the stream broke."""

    @property
    def since(self) -> str | None:
        """From where to open the stream again (RFC 3339, whole seconds); None: the beginning."""
        return None if self._newest is None else f"{self._edge():%Y-%m-%dT%H:%M:%SZ}"

    def reopened(self) -> None:
        """The stream begins again, at ``since``."""
        self._again = Counter(line for _, line in self._recent)
        self._from = None if self._newest is None else self._edge()

    def new(self, line: str) -> str | None:
        """The text of a line with its timestamp, or None when it was seen already."""
        stamp, _, text = line.partition(" ")
        if self._again[line] > 0:
            self._again[line] -= 1
            return None
        moment = datetime.fromisoformat(stamp)
        if self._from is not None and moment < self._from:
            return None
        if self._newest is None or moment > self._newest:
            before, self._newest = self._newest, moment
            if before is None or int(before.timestamp()) != int(moment.timestamp()):
                edge = self._edge()
                self._recent = [entry for entry in self._recent if entry[0] >= edge]
        self._recent.append((moment, line))
        return text

    def _edge(self) -> datetime:
        assert self._newest is not None
        return self._newest.replace(microsecond=0) - timedelta(seconds=1)


class LogFollower:
    """Follows the log of whichever pod is node 0, in a thread, until it is told to stop."""

    def __init__(self, api: Api, namespace: str, write: Callable[[str], None]) -> None:
        """Follow with an API client of its own.

        Args:
            api: no other thread uses it.
            namespace: of the pods.
            write: given each line, without its end.
        """
        self._api = api
        self._namespace = namespace
        self._write = write
        self._pod: dict[str, Any] | None = None
        self._changed = threading.Condition()
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._follow, name="log of node 0", daemon=True)
        self._thread.start()

    def see(self, found: list[dict[str, Any]]) -> None:
        """The job's pods, as they are now."""
        first = [pod for pod in found if pod["metadata"]["labels"].get(INDEX_LABEL, "0") == "0"]
        with self._changed:
            if first and pods.started(first[-1]):
                self._pod = first[-1]
                self._changed.notify()

    def __enter__(self) -> LogFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(_LAST_SECONDS)

    def stop(self, seconds: float) -> None:
        """Let it read to the end of a pod that has ended, at most so long."""
        with self._changed:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + seconds
            self._changed.notify()
        self._thread.join(seconds)

    def _follow(self) -> None:
        uid, lines, read_all = "", Lines(), False
        while True:
            with self._changed:
                while self._pod is None or (read_all and self._pod["metadata"]["uid"] == uid):
                    if self._stop_at is not None:
                        return
                    self._changed.wait()
                pod = self._pod
            if pod["metadata"]["uid"] != uid:
                uid, lines = pod["metadata"]["uid"], Lines()
            # Ended before the stream was opened: what the stream then gives is all there is.
            over = self._stop_at is not None or pods.ended(pod)
            read_all = self._read(pod["metadata"]["name"], lines) and over
            if not read_all:
                with self._changed:
                    if self._stop_at is not None and time.monotonic() > self._stop_at:
                        return
                    self._changed.wait(_PAUSE_SECONDS)

    def _read(self, pod: str, lines: Lines) -> bool:
        """Write what is new; whether the stream came to its own end."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        query = {"container": NODE, "follow": "true", "timestamps": "true"}
        if lines.since is not None:
            query["sinceTime"] = lines.since
        lines.reopened()
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}/log"
        try:
            for line in self._api.lines(path, query, read_seconds=_SILENCE_SECONDS):
                text = lines.new(line.decode(errors="replace"))
                if text is not None:
                    self._write(text)
        except ApiException as error:
            return error.status == 404  # noqa: PLR2004 (not found: the pod is gone, with its log)
        except (HTTPError, OSError):
            return False
        return True
