"""Stands for ``torchrun`` where there is no GPU: mini-trainer's own training script on the CPU.

One process, gloo in place of NCCL, and the CPU wherever the script says CUDA; everything else is
the script's own: its command line, data loader, SVD, FSDP2, optimizer, validation, logger and
checkpoints. Called as torchrun is: options, then the script and its arguments.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any


def main(argv: list[str]) -> None:
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    import safetensors.torch
    import torch
    from mini_trainer import osft_utils, setup_model_for_training, train

    class OnCpu:
        """The module torch, with its first CPU for every GPU."""

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        @staticmethod
        def device(kind: str, *number: int) -> torch.device:
            return torch.device("cpu") if kind == "cuda" else torch.device(kind, *number)

    osft_utils.torch = OnCpu()
    mesh = setup_model_for_training.init_device_mesh
    setup_model_for_training.init_device_mesh = lambda _, *rest, **named: mesh(
        "cpu", *rest, **named
    )
    train.init_distributed_environment = lambda: torch.distributed.init_process_group("gloo")
    torch.cuda.reset_peak_memory_stats = lambda: None
    # Gathered from a GPU, tied weights are two tensors; gathered from the CPU they are one.
    save = safetensors.torch.save_file
    safetensors.torch.save_file = lambda tensors, *rest, **named: save(
        {name: tensor.clone() for name, tensor in tensors.items()}, *rest, **named
    )
    script = next(i for i, argument in enumerate(argv) if argument.endswith("train.py"))
    sys.argv = argv[script:]
    train.app()


def install(folder: Path) -> Path:
    """Write the command ``torchrun`` into a folder, and return the folder for PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "torchrun"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    command.chmod(0o755)
    return folder


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main(sys.argv[1:])
