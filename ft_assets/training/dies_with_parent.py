"""Run a command that is told to end when the process that started it is gone.

``python -m ft_assets.training.dies_with_parent COMMAND ARGUMENT...``: the command takes this
process's place. It gets SIGTERM, so that torchrun ends its ranks too. Linux only; elsewhere the
command is just run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> None:
    """Become the command."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it went before the request took effect
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
