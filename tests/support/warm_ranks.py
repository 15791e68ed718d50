"""Training processes that train together and start at once: forked from a server that has loaded.

Each is a process of its own with gloo between them, as torchrun's are, from the plan on; what
torchrun itself does is left to the test with real nodes.

Lines of JSON on stdin, ``{"plan", "base", "size", "folder", "signal"}``; for each
``{"status": [...]}`` on stdout when all have ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from ft_assets.training.in_process.rank import RankEnd


class WarmRanks:
    """The test's side."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._runs = 0

    def train(
        self, plan: Path, base: Path, size: int, *, stop: tuple[int, int, str] | None = None
    ) -> dict[int, RankEnd]:
        """Train with ``size`` processes; returns how each ended, but for those that were killed.

        Args:
            plan: the plan file.
            base: the base model's folder.
            size: number of processes.
            stop: a rank that sends itself a signal, after which step, and the signal's name.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        order = {"plan": str(plan), "base": str(base), "size": size, "folder": str(folder)}
        self._server.stdin.write(json.dumps({**order, "stop": stop}) + "\n")
        self._server.stdin.flush()
        json.loads(self._server.stdout.readline())
        return RankEnd.load_all(folder)


@contextmanager
def warm_ranks(folder: Path) -> Generator[WarmRanks]:
    """Start the server; it ends with the block."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_ranks"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    try:
        yield WarmRanks(server, folder)
    finally:
        server.kill()
        server.wait()


def _serve() -> None:
    import mini_trainer.osft_utils  # noqa: F401
    import transformers.models.qwen2  # noqa: F401

    import ft_assets.training.in_process.backend  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pids: list[int] = []
        # The tokens are made by one process before the others begin, as a node does.
        for rank in (None, *range(order["size"])):
            pid = os.fork()
            if pid == 0:
                _work(order, rank)
            if rank is None:
                os.waitpid(pid, 0)
            else:
                pids.append(pid)
        status = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps({"status": status}), flush=True)


def _work(order: dict[str, Any], rank: int | None) -> None:
    from ft_assets.training.in_process.call import settings_of
    from ft_assets.training.in_process.token_folder import write_tokens
    from ft_assets.training.plan import TrainPlan

    plan_file, base, folder = (Path(order[name]) for name in ("plan", "base", "folder"))
    os.dup2(2, 1)  # the answers' stream is the server's alone
    try:
        if rank is None:
            plan = TrainPlan.model_validate_json(plan_file.read_text())
            write_tokens(settings_of(plan, base, plan_file.parent, _silent))
        else:
            _train(plan_file, base, folder, rank, order)
    finally:
        sys.stderr.flush()
        os._exit(0)


def _train(plan_file: Path, base: Path, folder: Path, rank: int, order: dict[str, Any]) -> None:
    from torch.distributed import (
        FileStore,  # pyright: ignore[reportPrivateImportUsage]
        ProcessGroupGloo,
    )

    from ft_assets.training.in_process import rank as ranks
    from ft_assets.training.in_process import world

    @contextmanager
    def joined(timeout: timedelta) -> Generator[world.World]:
        store = FileStore(str(folder / "store"), order["size"])
        group = ProcessGroupGloo(store, rank, order["size"], timedelta(seconds=60))
        yield world.World(rank, order["size"], group)

    world.joined = joined
    if order["stop"] and order["stop"][0] == rank:
        _stop_after(*order["stop"][1:])
    ranks.train_as_rank(plan_file, base, folder, rank, _silent)


def _stop_after(step: int, name: str) -> None:
    from ft_assets.training.in_process.held_out import HeldOutCallback

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **further: Any) -> None:
        on_step(self, args, state, control, **further)
        if state.global_step == step:
            os.kill(os.getpid(), signal.Signals[name])

    on_step = HeldOutCallback.on_step_end
    HeldOutCallback.on_step_end = on_step_end


def _silent(phase: str, done: float, total: float, **details: Any) -> None:
    pass


if __name__ == "__main__":
    _serve()
