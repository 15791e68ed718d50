"""One pod on a node of ours, from its start to its end: processes, status, events, log.

Belongs here: what a kubelet does with one pod. Which pods there are: node_agent.py.

Limits: containers start together (no init containers, no probes), restartPolicy is always Never,
images are not pulled (a name with `missing` in it cannot be), requests and limits are not enforced.
"""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.cluster.log_server import stamp
from tests.support.cluster.pod_spec import ConfigError, MountError, Runnable, mount, runnable
from tests.support.cluster.programs import die_with_parent

if TYPE_CHECKING:
    from kubernetes.client import V1Container, V1Pod

    from tests.support.cluster.node_agent import NodeAgent

_MARK = "FT_TEST_POD_UID"
"""In the environment of every process of a pod: a process on the host has no PID namespace."""
_TRY_AGAIN_SECONDS = 1.0


class RunningPod:
    """The life of one pod bound to a node, in a thread of its own."""

    def __init__(self, agent: NodeAgent, pod: V1Pod) -> None:
        self.agent = agent
        self.pod = pod
        self.namespace: str = pod.metadata.namespace
        self.pod_name: str = pod.metadata.name
        self.uid: str = pod.metadata.uid
        self.folder = agent.folder / "pods" / self.uid
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.silent = False
        """Whether nothing is reported any more: the node is lost, or the pod is gone."""
        self._started = _now()
        self._deleted = threading.Event()
        self._reason: str | None = None
        self._evicted: str | None = None
        self._identity: dict[str, str] | None = None
        self._life = threading.Thread(target=self._live, daemon=True, name=f"pod {self.pod_name}")

    def start(self) -> None:
        """Begin its life."""
        self._life.start()

    def delete(self, grace_seconds: float) -> None:
        """Ask the processes to end, and kill what is left after the grace period."""
        if self._deleted.is_set():
            return
        self._deleted.set()
        if not self._life.is_alive():
            self.agent.remove_from_api(self)
        for process in self.processes.values():
            _send(process.pid, signal.SIGTERM)
        timer = threading.Timer(grace_seconds, self.kill_all)
        timer.daemon = True
        timer.start()

    def oom_kill(self) -> None:
        """Do what the kernel does when a container needs more memory than its limit."""
        self._reason = "OOMKilled"
        self.kill_all()

    def evict(self, message: str) -> None:
        """Do what the kubelet does when the node itself runs out of something."""
        self._evicted = message
        self.agent.event(self.pod, "Warning", "Evicted", message)
        self.kill_all()

    def abandon(self) -> None:
        """Forget it, and report nothing any more: its object has gone, or its node is lost."""
        self.silent = True
        self._deleted.set()
        self.kill_all()

    def kill_all(self) -> None:
        """Kill every process of the pod, also those in other sessions."""
        mark = f"{_MARK}={self.uid}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and mark in _environment_of(entry):
                _send(int(entry.name), signal.SIGKILL)

    def log(self, container: str) -> Path:
        """The file of a container's output."""
        return self.folder / f"{container}.log"

    def is_running(self, container: str) -> bool:
        """Whether the container's first process runs."""
        process = self.processes.get(container)
        return process is not None and process.poll() is None

    def _live(self) -> None:
        """Start it, wait for its end, say how it ended."""
        self.folder.mkdir(parents=True, exist_ok=True)
        containers = self._until_created()
        if containers and not self._deleted.is_set():
            self._start(containers)
            for process in self.processes.values():
                process.wait()
            self.kill_all()  # as the kernel does in a container whose first process has ended
            self._report_end()
        if self._deleted.is_set() and not self.silent:
            self.agent.remove_from_api(self)

    def _until_created(self) -> list[tuple[V1Container, Runnable]] | None:
        """Every container, ready to start; tried again until it can be or the pod is deleted."""
        said: Any = None
        while not self._deleted.is_set():
            waiting: dict[str, dict[str, str]] = {}
            ready: list[tuple[V1Container, Runnable]] = []
            try:
                mounted = mount(self.agent.core, self.pod, self.folder, self.agent.claim_folder)
                for container in self.pod.spec.containers:
                    waits = self._prepare(container, mounted, ready, tries_again=said is not None)
                    if waits:
                        waiting[container.name] = waits
            except MountError as error:
                waiting = {
                    c.name: {"reason": "ContainerCreating"} for c in self.pod.spec.containers
                }
                if said is None:
                    self.agent.event(self.pod, "Warning", "FailedMount", str(error))
            if not waiting:
                return ready
            if waiting != said:
                said = waiting
                self._report("Pending", {name: {"waiting": why} for name, why in waiting.items()})
            self._deleted.wait(_TRY_AGAIN_SECONDS)
        return None

    def _prepare(
        self,
        container: V1Container,
        mounted: dict[str, Path],
        ready: list[tuple[V1Container, Runnable]],
        *,
        tries_again: bool,
    ) -> dict[str, str] | None:
        """What the container waits for; None when nothing, and then it is among the ready ones."""
        image = container.image
        if "missing" in image:
            failed = (
                f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": '
                f'failed to resolve reference "{image}": {image}: not found'
            )
            if not tries_again:
                message = f'Failed to pull image "{image}": {failed}'
                self.agent.event(self.pod, "Warning", "Failed", message)
                return {"reason": "ErrImagePull", "message": failed}
            message = f'Back-off pulling image "{image}"'
            return {"reason": "ImagePullBackOff", "message": message}
        try:
            if self._identity is None:
                self._identity = self.agent.identity(self.pod, self.folder)
            given = {
                "HOME": str(self.folder),
                "HOSTNAME": self.pod_name,
                **self.agent.service_variables,
                _MARK: self.uid,
                **self._identity,
            }
            ready.append(
                (container, runnable(self.agent.core, self.pod, container, mounted, given))
            )
        except ConfigError as error:
            if not tries_again:
                self.agent.event(self.pod, "Warning", "Failed", f"Error: {error}")
            return {"reason": "CreateContainerConfigError", "message": str(error)}
        return None

    def _start(self, containers: list[tuple[V1Container, Runnable]]) -> None:
        for container, process in containers:
            self._start_one(container.name, process)
        self._report("Running", {c.name: self._state(c.name) for c, _ in containers})
        if self._deleted.is_set():  # asked to end just before it began
            for process in self.processes.values():
                _send(process.pid, signal.SIGTERM)

    def _start_one(self, name: str, runnable: Runnable) -> None:
        log = self.log(name)
        try:
            process = subprocess.Popen(
                runnable.command,
                env=runnable.environment,
                cwd=runnable.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (calls the kernel only)
            )
        except OSError as error:  # a container whose program is not there ends like this too
            process = subprocess.Popen(
                ["sh", "-c", 'echo "$0"; exit 127', str(error)], stdout=subprocess.PIPE
            )
        self.processes[name] = process
        threading.Thread(target=_copy, args=(process, log), daemon=True).start()

    def _report_end(self) -> None:
        codes = [process.returncode for process in self.processes.values()]
        phase = "Failed" if any(codes) or self._evicted else "Succeeded"
        self._report(phase, {name: self._state(name) for name in self.processes})

    def _state(self, name: str) -> dict[str, Any]:
        process = self.processes[name]
        if process.poll() is None:
            return {"running": {"startedAt": _now()}}
        # A shell's way to tell of a signal is the container runtimes' too: 128 and its number.
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        reason = self._reason or ("Error" if code else "Completed")
        ended = {"exitCode": code, "reason": reason, "startedAt": self._started}
        return {"terminated": {**ended, "finishedAt": _now()}}

    def _report(self, phase: str, states: dict[str, dict[str, Any]]) -> None:
        if self.silent:
            return
        ready = phase == "Running"
        status: dict[str, Any] = {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "startTime": self._started,
            "conditions": [
                _condition("PodScheduled", True),
                _condition("Initialized", True),
                _condition("ContainersReady", ready),
                _condition("Ready", ready),
            ],
            "containerStatuses": [
                {
                    "name": container.name,
                    "image": container.image,
                    "imageID": "",
                    "ready": ready,
                    "restartCount": 0,
                    "started": ready,
                    "state": states[container.name],
                }
                for container in self.pod.spec.containers
            ],
        }
        if self._evicted is not None and phase == "Failed":
            status |= {"reason": "Evicted", "message": self._evicted}
        self.agent.report(self, status)


def _condition(kind: str, is_true: bool) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True" if is_true else "False",
        "lastTransitionTime": _now(),
    }


def _copy(process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.stdout is not None
    with log.open("wb", buffering=0) as file:
        for line in process.stdout:
            file.write(stamp(line if line.endswith(b"\n") else line + b"\n"))


def _environment_of(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it has ended, or belongs to somebody else


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
