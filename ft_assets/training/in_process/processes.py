"""A node's training processes on the CPU, from the side of the process that starts them.

Belongs here: torchrun's command, signals, the first process's reports, and one explained end of
them all. Does not belong here: what each of them does (``rank.py``), and other nodes
(``ft_assets.training.nodes``).
"""

from __future__ import annotations

# psutil's process trees have no complete types.
# pyright: reportUnknownMemberType=false
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from ft_assets.training.in_process.rank import REPORTS, TALK, RankEnd, begun
from ft_assets.training.limits import NODES_TIMEOUT, limit
from ft_assets.training.nodes import NodeLostError
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.place import PET, Place
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError
from resources.launcher.child import INTERRUPTED_EXIT, USER_ERROR_EXIT, Reporter

_RANK = "ft_assets.training.in_process.rank"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOST = (
    "a training process of another node ended or cannot be reached any more, and this node's "
    "ended with it"
)


def train_in_processes(
    plan: TrainPlan,
    place: Place,
    base: Path,
    run_dir: Path,
    *,
    report: Reporter,
    prepared: Callable[[], None],
) -> TrainOutcome:
    """Make the tokens, then train with all processes; for the first node.

    Args:
        plan: what is trained.
        place: this node's.
        base: the base model's folder.
        run_dir: the run's folder.
        report: told how far the run is.
        prepared: called when everything is there that the processes read.

    Raises:
        UserError: bad input, said by whichever process.
        KeyboardInterrupt: it was told to end, and kept a checkpoint.
        NodeLostError: another node is gone.
        RuntimeError: it failed for another reason.
    """
    from ft_assets.training.in_process.call import settings_of
    from ft_assets.training.in_process.token_folder import write_tokens

    write_tokens(settings_of(plan, base, run_dir, report))
    prepared()
    outcome = run_processes(plan, place, base, run_dir, report)
    if outcome is None:
        raise RuntimeError("the training processes ended well and left no outcome")
    return outcome


def run_processes(
    plan: TrainPlan, place: Place, base: Path, run_dir: Path, report: Reporter
) -> TrainOutcome | None:
    """Run this node's processes to their end; the outcome is on the node of the first one.

    Raises:
        UserError: see :func:`train_in_processes`, as the others.
    """
    with tempfile.TemporaryDirectory(prefix="ft-ranks-") as temporary:
        folder = Path(temporary)
        with _reports(folder / REPORTS, report):
            status, asked = _run(_command(place, run_dir / "plan.json", base), _environment(folder))
        ends = RankEnd.load_all(folder)
        killed = sorted(begun(folder) - ends.keys())
    raise_the_end(plan, ends, killed, status, asked=asked)
    return ends[min(ends)].outcome


def _command(place: Place, plan_file: Path, base: Path) -> list[str]:
    seconds = int(limit(os.environ, NODES_TIMEOUT).total_seconds())
    if place.nnodes == 1:
        meet = ["--standalone"]
    elif place.rdzv_endpoint:
        meet = ["--rdzv-backend=static", f"--rdzv-endpoint={place.rdzv_endpoint}"]
    else:
        meet = [
            "--rdzv-backend=static",
            f"--master-addr={place.master_addr}",
            f"--master-port={place.master_port}",
        ]
    if place.nnodes > 1:
        meet += [
            f"--nnodes={place.nnodes}",
            f"--node-rank={place.node_rank}",
            f"--rdzv-id={place.rdzv_id}",
            f"--rdzv-conf=timeout={seconds}",
        ]
    python = [sys.executable, "-m"]
    return [
        *python,
        "ft_assets.training.dies_with_parent",
        *python,
        "torch.distributed.run",
        *meet,
        f"--nproc-per-node={place.nproc_per_node}",
        "--max-restarts=0",  # a retry of the whole run goes on from the checkpoint
        "-m",
        _RANK,
        str(plan_file),
        str(base),
    ]


def _environment(folder: Path) -> dict[str, str]:
    """torchrun's arguments say it all; Dagster's pipe is this process's alone."""
    hidden = (*PET, "DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {"OMP_NUM_THREADS": "1", **kept, TALK: str(folder)}


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, bool]:
    """torchrun's status, and whether it was asked to end while it ran."""
    torchrun = subprocess.Popen(  # noqa: S603
        command,
        env=environment,
        start_new_session=True,  # a terminal's Ctrl-C reaches them through this process alone
    )
    try:
        with _passed_on(torchrun) as asked:
            status = torchrun.wait()
    finally:
        torchrun.kill()
    return status, asked.is_set()


@contextmanager
def _passed_on(torchrun: subprocess.Popen[bytes]) -> Generator[threading.Event]:
    """Hand SIGTERM and SIGINT to the training processes, which end after a whole step.

    Not to torchrun: it would kill them after a while, in the middle of their checkpoint.
    """
    asked = threading.Event()

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        asked.set()
        ranks = [process for process in _below(torchrun.pid) if _is_rank(process)]
        for process in ranks:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if not ranks:  # none has begun: nothing is lost
            torchrun.terminate()

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_rank(process: psutil.Process) -> bool:
    try:
        return _RANK in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _reports(pipe: Path, report: Reporter) -> Generator[None]:
    """Pass on what the first process reports, as it comes."""
    failed: list[Exception] = []
    os.mkfifo(pipe)
    with os.fdopen(os.open(pipe, os.O_RDWR), "r") as stream:

        def pass_on() -> None:
            for line in stream:
                if line == "\n":
                    return
                if failed:
                    continue  # a pipe that nobody reads would hold the training up
                event = json.loads(line)
                try:
                    report(event.pop("phase"), event.pop("done"), event.pop("total"), **event)
                except Exception as error:  # raised again in the main thread
                    failed.append(error)

        thread = threading.Thread(target=pass_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with pipe.open("w") as end:
                end.write("\n")
            thread.join()
    if failed:
        raise failed[0]


def raise_the_end(
    plan: TrainPlan, ends: dict[int, RankEnd], killed: list[int], status: int, *, asked: bool
) -> None:
    """Raise what this node's processes ended with; nothing happens where they ended well.

    Args:
        plan: what was trained; its remedies help against a lack of memory.
        ends: how they ended, by rank.
        killed: ranks that began and did not say how they ended.
        status: torchrun's.
        asked: whether this node was told to end.

    Raises:
        UserError: see :func:`train_in_processes`, as the others.
    """
    for end in ends.values():
        if end.status == USER_ERROR_EXIT:
            raise UserError(end.message)
    for end in ends.values():
        if end.status == 1 and not end.lost:
            raise RuntimeError(end.message)
    if asked and status:
        raise KeyboardInterrupt
    if killed:
        remedies = "; or ".join(plan.host_memory_remedies or plan.memory_remedies) or (
            "give the nodes more memory (kubernetes.memory)"
        )
        raise RuntimeError(
            f"training process {killed[0]} was killed, most likely because the host ran out of "
            f"memory: {remedies}"
        )
    for end in ends.values():
        if end.lost:
            raise NodeLostError(f"{_LOST} ({end.message})")
    if any(end.status == INTERRUPTED_EXIT for end in ends.values()):
        raise KeyboardInterrupt
    if status:
        raise NodeLostError(f"{_LOST} (torchrun ended with status {status}; see its log)")
