"""Training rows as tokens, on disk: memory does not grow with the dataset."""

from __future__ import annotations

# transformers' tokenizers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from ft_assets.training.mask import MaskPolicy
from ft_assets.training.token_rows import TokenCounts, training_rows
from resources.launcher.child import Reporter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Row:
    """One conversation: token ids and, per token, whether it is trained on. Both of length L."""

    ids: torch.Tensor
    trained: torch.Tensor


class TokenFile(Dataset[Row]):
    """Rows of a file of int32 ids, a file of masks and a file of offsets, mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self._ids = np.memmap(folder / "ids.bin", dtype=np.int32, mode="r")
        self._trained = np.memmap(folder / "trained.bin", dtype=np.bool_, mode="r")
        self._offsets = np.memmap(folder / "offsets.bin", dtype=np.int64, mode="r")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Row:
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        return Row(
            ids=torch.from_numpy(self._ids[start:end].astype(np.int64)),
            trained=torch.from_numpy(self._trained[start:end].copy()),
        )


def tokenize(
    train_file: Path,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    max_seq_len: int,
    policy: MaskPolicy,
    *,
    report: Reporter,
) -> TokenCounts:
    """Write the tokens of every row of at most ``max_seq_len`` tokens to ``folder``.

    Raises:
        UserError: no row is short enough, nothing is trained on, or the template ends no turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts, offsets = TokenCounts(), [0]
    rows = training_rows(train_file, tokenizer, max_seq_len, policy, report=report, counts=counts)
    with (folder / "ids.bin").open("wb") as ids, (folder / "trained.bin").open("wb") as masks:
        for row in rows:
            np.array(row.ids, dtype=np.int32).tofile(ids)
            np.array(row.mask, dtype=np.bool_).tofile(masks)
            offsets.append(offsets[-1] + len(row.ids))
    np.array(offsets, dtype=np.int64).tofile(folder / "offsets.bin")
    return counts
