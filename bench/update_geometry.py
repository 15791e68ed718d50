"""Where a training moved the weights, beside the directions that OSFT leaves free.

A module, not a benchmark: ``forgetting.py`` explains its result by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

FROZEN_SHARE = 0.75
"""Of the singular directions of each matrix, the largest ones: 1 - unfreeze_rank_ratio."""


class Weights:
    """The tensors of a model folder, one at a time."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        from safetensors import safe_open

        files = sorted(folder.glob("*.safetensors"))
        opened = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
        self._of = {name: file for file in opened for name in file.keys()}  # noqa: SIM118

    def names(self) -> Iterator[str]:
        return iter(self._of)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._of[name].get_tensor(name).to(torch.float32)


def is_constrained(name: str, tensor: torch.Tensor) -> bool:
    """Whether OSFT freezes directions of it: the projections of the layers."""
    return tensor.ndim == 2 and ".layers." in name


def in_free_subspace(weight: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """The part of a change that OSFT would leave free to learn at this weight."""
    rows, _, columns = torch.linalg.svd(weight, full_matrices=False)
    kept = int(len(columns) * FROZEN_SHARE)
    rows, columns = rows[:, :kept], columns[:kept]
    change = change - rows @ (rows.T @ change)
    return change - (change @ columns.T) @ columns


def movements(base: Path, after_a: Path, after_b: Mapping[str, Path]) -> dict[str, Any]:
    """How far B moved the weights, and what it did to that which A had changed.

    Returns, beside ``a`` (A's own update), for each of ``after_b``:

    - ``moved``: norm of the update of the constrained matrices over the norm of A's update;
    - ``moved_elsewhere``: the same of the embeddings and norms, which OSFT does not constrain;
    - ``a_undone``: the share of A's update that B's update takes back (-<B, A> / <A, A>);
    - ``share_in_free_subspace``: of the squared norm, what lies in the directions that OSFT leaves
      free at the weights after A.
    """
    sums: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        first, start = Weights(base, stack), Weights(after_a, stack)
        others = {name: Weights(folder, stack) for name, folder in after_b.items()}
        for name in first.names():
            weight = start[name]
            by_a = weight - first[name]
            updates = {"a": by_a, **{of: found[name] - weight for of, found in others.items()}}
            for of, update in updates.items():
                total = sums.setdefault(of, dict.fromkeys(("in", "out", "free", "along_a"), 0.0))
                if not is_constrained(name, weight):
                    total["out"] += float(update.square().sum())
                    continue
                total["in"] += float(update.square().sum())
                total["free"] += float(in_free_subspace(weight, update).square().sum())
                total["along_a"] += float((update * by_a).sum())
    by_a = sums["a"]
    return {
        of: {
            "moved": (total["in"] / by_a["in"]) ** 0.5,
            "moved_elsewhere": (total["out"] / by_a["out"]) ** 0.5,
            "a_undone": -total["along_a"] / by_a["in"],
            "share_in_free_subspace": total["free"] / total["in"],
        }
        for of, total in sums.items()
    }
