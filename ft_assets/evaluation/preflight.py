"""Whether the data of all tasks is there, before a model is loaded.

Belongs here: which tasks take their data from the hub, whether the hub answers (found out once, in
seconds, not by a time-out per task), and one message about everything that is missing.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from lm_eval.tasks._index import Entry

CONNECT_SECONDS = 3.0
"""How long the hub may take to accept a connection."""

# What `datasets` reads without a repository: its own list is private.
_KINDS_OF_FILE = frozenset(
    {
        "arrow",
        "audiofolder",
        "csv",
        "generator",
        "imagefolder",
        "json",
        "pandas",
        "parquet",
        "sql",
        "text",
        "xml",
    }
)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TaskData:
    """Where a task's documents come from."""

    task: str
    dataset: str
    """lm-eval's ``dataset_path``: a repository on the hub, a folder or a kind of file; ``""``
    where the task's own code decides."""
    config: str | None = None
    """lm-eval's ``dataset_name``."""

    @property
    def on_hub(self) -> bool:
        """Whether it is (or may be) a repository on the hub."""
        if self.dataset in _KINDS_OF_FILE:
            return False
        return not (self.dataset and Path(self.dataset).exists())

    def __str__(self) -> str:
        config = f" (config {self.config})" if self.config else ""
        return f"{self.dataset or 'of its own code'}{config}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A task whose data cannot be loaded, and why."""

    data: TaskData
    reason: str


class MissingDataError(Exception):
    """Data of some tasks is not there; collected until all tasks were tried."""

    def __init__(self, missing: Sequence[Missing]) -> None:
        super().__init__(*missing)
        self.missing = list(missing)


def task_data(index: Mapping[str, Entry], name: str) -> list[TaskData]:
    """The data of a task, or of all tasks of a group or tag, in the order of their names."""
    entry = index.get(name)
    if entry is None:
        return []
    found = {leaf.task: leaf for member in members(entry) for leaf in task_data(index, member)}
    if found:
        return [found[leaf] for leaf in sorted(found)]
    config = entry.cfg or {}
    dataset = str(config.get("dataset_path") or "")
    chosen = config.get("dataset_name")
    return [TaskData(name, dataset, None if chosen is None else str(chosen))]


def members(entry: Entry) -> list[str]:
    """The names that a group or tag refers to; inline definitions are not names."""
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    listed = (entry.cfg or {}).get("task")
    return [item for item in listed if isinstance(item, str)] if isinstance(listed, list) else []


def hub_problem(seconds: float = CONNECT_SECONDS) -> str | None:
    """Why the hub cannot be used; None when it accepts a connection (or the proxy to it does)."""
    from datasets import config
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode() or config.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    endpoint = constants.ENDPOINT
    host, port = _where_to_connect(endpoint)
    problem = _connect(host, port, seconds)
    if problem is None:
        return None
    return f"the hub at {endpoint} cannot be reached ({host} port {port}: {problem})"


def _where_to_connect(endpoint: str) -> tuple[str, int]:
    url = urlsplit(endpoint)
    host = url.hostname or endpoint
    proxy = getproxies().get(url.scheme) or getproxies().get("all")
    if proxy and not proxy_bypass(host):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
        host = url.hostname or proxy
    return host, url.port or _PORTS.get(url.scheme, _PORTS["https"])


def _connect(host: str, port: int, seconds: float) -> str | None:
    """What keeps a connection from being made; in a thread, for asking a name server has no end."""
    said: list[str | None] = []

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
        except OSError as error:
            said.append(error.strerror or str(error) or type(error).__name__)
        else:
            said.append(None)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return said[0] if said else f"no answer in {seconds:g} seconds"


@contextmanager
def offline(wanted: bool) -> Generator[None]:
    """Keep ``datasets`` from asking the hub: what is not in the cache fails at once.

    Its settings are read from the environment when it is imported, so they are set in the modules.
    """
    from datasets import config
    from huggingface_hub import constants

    before = (config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    if wanted:
        config.HF_HUB_OFFLINE = True
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def refusal(missing: Sequence[Missing], problem: str | None) -> str:
    """One message about all tasks whose data is missing.

    Args:
        missing: Those tasks.
        problem: Why the hub cannot be used, if so.
    """
    lines = [
        f"task {item.data.task!r}: its dataset {item.data} cannot be loaded ({item.reason})"
        for item in missing
    ]
    remedy = (
        "a dataset on the hub needs the network, or a cache that was filled where there is one "
        f"(HF_HOME, here {_hf_home()}); or define the task over local files in include_path"
    )
    if problem is not None and any(item.data.on_hub for item in missing):
        remedy = f"{problem}: {remedy}"
    return f"{lines[0]}: {remedy}" if len(lines) == 1 else "\n".join([*lines, remedy])


def _hf_home() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_HOME", constants.HF_HOME)
