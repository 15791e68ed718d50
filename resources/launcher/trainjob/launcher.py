"""Heavy work on several nodes: a Kubeflow TrainJob that the step makes, follows and deletes.

The same interface as the launcher of a child process. The data and the base model are prepared by
the step before; the nodes read them, and write checkpoints, on the folder that they share with it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import PipesEnvContextInjector, open_pipes_session
from dagster._utils.warnings import PreviewWarning

from resources.cluster.client import api_client
from resources.launcher.child import ERROR_FILE, FINISHED
from resources.launcher.process import ChildFailedError, EveryFewSeconds, Progress, read_number
from resources.launcher.trainjob import pods
from resources.launcher.trainjob.api import Api, UnreachableError
from resources.launcher.trainjob.failures import why_it_ended
from resources.launcher.trainjob.following import Patience, follow
from resources.launcher.trainjob.job import Job, Look
from resources.launcher.trainjob.logs import LogFollower
from resources.launcher.trainjob.manifest import train_job
from resources.launcher.trainjob.messages import SharedFileMessageReader, new_messages_file
from resources.launcher.trainjob.request import FINGERPRINT_LABEL, TrainJobRequest
from resources.launcher.trainjob.runtimes import find_runtime
from resources.launcher.trainjob.state import State, state_of
from resources.launcher.warm import QUIET

_LOG_SECONDS = 10.0
"""How long the log of pods that have ended may take to be read."""


@dataclass
class _Held:
    """The job that a step answers for."""

    uid: str | None = None
    """None: it has none."""
    messages: str | None = None
    """The file of the job that it is making."""


@dataclass(frozen=True, kw_only=True)
class TrainJobLauncher:
    """Runs ``python -m MODULE PLAN`` on every node of a TrainJob.

    The job is named after its work. A step that was killed and runs again finds its job and goes on
    following it: the same work never runs twice. A job of ours is deleted with its pods when it is
    over, however it ended (this version of TrainJob has no time to live of its own); its log, its
    reports and its checkpoints are kept elsewhere. What a step that was killed leaves behind
    carries the run's id (``dagster/run-id``), by which the reaper finds it.
    """

    request: TrainJobRequest
    log_every_seconds: float = 5.0
    """Least time between two lines of progress in the event log."""
    patience: Patience = field(default_factory=Patience)
    unreachable_seconds: float = 900.0
    """How long the API server may be away before the step gives up; the job runs on meanwhile."""
    deletion_seconds: float = 120.0
    """How long to wait for a deleted job's pods to be gone."""
    report_seconds: float = 10.0
    """How long the last reports of a finished job may take through the shared folder."""

    def run(
        self,
        context: dg.AssetExecutionContext,
        *,
        module: str,
        plan: Path,
        on_progress: Callable[[Progress], None],
        memory_remedies: Sequence[str] = (),
    ) -> float:
        """Run a worker on all nodes to its end; returns how long node 0 worked, in seconds.

        Args:
            context: of the step; its event log gets a line every few seconds.
            module: the worker, a module with a main.
            plan: its plan file, in the shared folder; ``error.json`` beside it says why it refused.
            on_progress: called with every report of node 0, in a thread of this process. A step
                that finds its job running hears all of them from the first.
            memory_remedies: what to change when a node was killed for want of memory.

        Raises:
            UserError: the worker refused its input, or the cluster has not what the job needs.
            dg.RetryRequested: the cluster took a node away.
            ChildFailedError: it ended otherwise than well.
        """
        listener = _Listener(on_progress, EveryFewSeconds(context, self.log_every_seconds))

        def say(text: str) -> None:
            context.log.info(f"TrainJob {self.request.name}: {text}")

        with (
            api_client() as client,
            api_client() as log_client,
            LogFollower(Api(log_client, patience=0.0), self.request.namespace, _print) as log,
        ):
            api = Api(client, patience=self.unreachable_seconds, say=say)
            job = Job(api, self.request.namespace, self.request.name)
            runtime_kind = find_runtime(api, self.request)
            with self._nothing_left_behind(job) as held:
                found = self._find(job, held, context.run.run_id, say)
                messages = Path(found.messages) if found and found.messages else None
                file = messages or new_messages_file(plan.parent)
                reader = SharedFileMessageReader(file, listener)
                with _pipes(context, reader) as environment:
                    if found is None:
                        (plan.parent / ERROR_FILE).unlink(missing_ok=True)
                        manifest = train_job(
                            self.request,
                            command=[self.request.python, "-m", module, str(plan)],
                            env={**QUIET, **environment},
                            runtime_kind=runtime_kind,
                            messages=str(file),
                        )
                        found = self._create(job, held, manifest, str(file))
                        say(f"made, for {self.request.nodes} nodes")

                    def seen(look: Look) -> None:
                        log.see(look.pods)
                        reader.check()

                    state, last = follow(
                        job, found, self.request, patience=self.patience, say=say, seen=seen
                    )
                    log.stop(_LOG_SECONDS if all(map(pods.ended, last.pods)) else 0.0)
                    if state is not State.COMPLETE:
                        raise why_it_ended(
                            job,
                            state,
                            last,
                            api,
                            nodes=self.request.nodes,
                            run_dir=plan.parent,
                            remedies=memory_remedies,
                        )
                    reader.drain(self.report_seconds)
        return listener.seconds

    def clear_away(self) -> None:
        """Delete the job of this work that an earlier attempt left: its work is done."""
        with api_client() as client:
            job = Job(
                Api(client, patience=self.deletion_seconds),
                self.request.namespace,
                self.request.name,
            )
            try:
                look = job.look()
            except UnreachableError as error:
                _not_gone(job, str(error))
                return
            if look.fingerprint == self.request.all_labels[FINGERPRINT_LABEL]:
                self._delete(job, _Held(look.uid))

    def _find(self, job: Job, held: _Held, run_id: str, say: Callable[[str], None]) -> Look | None:
        """The job of this work that an earlier attempt left alive; one that is over goes first."""
        look = job.look()
        if look.job is None:
            return None
        self._refuse_foreign(job, look)
        if look.being_deleted or state_of(look, self.request.nodes) is State.FAILED:
            say("an earlier one of this name is over: it goes first")
            if not job.delete(look.uid, patience=self.deletion_seconds):
                raise ChildFailedError(
                    f"{job}, of an earlier attempt, is still ending after "
                    f"{self.deletion_seconds:.0f} s: look at its pods, or wait for their end"
                )
            return None
        held.uid = look.uid
        say("it is there already, from an earlier attempt: following it")
        job.take_over(run_id)
        return look

    def _refuse_foreign(self, job: Job, look: Look) -> None:
        ours = self.request.all_labels[FINGERPRINT_LABEL]
        if look.fingerprint != ours:
            raise ChildFailedError(
                f"{job} exists and is not the one of this work (its label {FINGERPRINT_LABEL} is "
                f"{look.fingerprint!r}, not {ours!r}): delete it, or wait for its end"
            )

    def _create(self, job: Job, held: _Held, manifest: dict[str, Any], messages: str) -> Look:
        held.messages = messages
        made = job.create(manifest)
        if made is None:  # somebody was faster; or it was us, and the answer was lost on its way
            made = job.look()
            self._refuse_foreign(job, made)
            if made.messages != messages:
                raise ChildFailedError(
                    f"{job} was made by another run in this moment: this one would train the same "
                    "twice; it follows that job when the step runs again"
                )
        held.uid = made.uid
        return made

    @contextmanager
    def _nothing_left_behind(self, job: Job) -> Generator[_Held]:
        """Whatever ends the block, no job that it holds is left, unless nobody answers."""
        held = _Held()
        try:
            yield held
        except UnreachableError as error:
            raise ChildFailedError(
                f"{error}; {job} may run on: the step finds it when it runs again"
            ) from error
        except BaseException as error:  # cancelled, failed or too late: its pods cost money
            if held.uid is None and held.messages and not isinstance(error, Exception):
                # Cancelled while it was being made: it may be there.
                look = job.look()
                held.uid = look.uid if look.messages == held.messages else None
            self._delete(job, held)
            raise
        self._delete(job, held)

    def _delete(self, job: Job, held: _Held) -> None:
        """Delete it with its pods; says so when they are not gone in time."""
        if held.uid is None:
            return
        try:
            gone = job.delete(held.uid, patience=self.deletion_seconds)
        except UnreachableError as error:
            gone, why = False, str(error)
        else:
            why = f"its pods are still ending after {self.deletion_seconds:.0f} s"
        if not gone:
            _not_gone(job, why)


@contextmanager
def _pipes(
    context: dg.AssetExecutionContext, reader: SharedFileMessageReader
) -> Generator[Mapping[str, str]]:
    """A Pipes session; gives the variables that node 0 needs to report to it."""
    with warnings.catch_warnings():
        # Dagster's own readers use a part of its interface that it calls a preview.
        warnings.simplefilter("ignore", PreviewWarning)
        with open_pipes_session(
            context=context, context_injector=PipesEnvContextInjector(), message_reader=reader
        ) as session:
            yield session.get_bootstrap_env_vars()


class _Listener:
    """Gives the reports of node 0 to the step, and keeps how long it worked."""

    def __init__(
        self, on_progress: Callable[[Progress], None], log: Callable[[Progress], None]
    ) -> None:
        self._on_progress = on_progress
        self._log = log
        self.seconds = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress["phase"] == FINISHED:
            self.seconds = float(progress["seconds"])
            return
        numbers = {name: read_number(value) for name, value in progress.items()}
        self._on_progress(numbers)
        self._log(numbers)


def _not_gone(job: Job, why: str) -> None:
    print(
        f"{job} is not gone ({why}); kubectl delete trainjob {job.name} -n {job.namespace}",
        file=sys.stderr,
    )


def _print(line: str) -> None:
    """Into the step's own log."""
    print(line, flush=True)
