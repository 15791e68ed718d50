"""Training rows as tokens, on disk: memory does not grow with the dataset."""

from __future__ import annotations

# transformers' tokenizers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from ft_assets.training.chat import render_chat
from resources.errors import UserError
from resources.launcher.child import Reporter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Row:
    """One conversation: token ids and, per token, whether it is trained on. Both of length L."""

    ids: torch.Tensor
    trained: torch.Tensor


@dataclass(frozen=True)
class TokenCounts:
    """What tokenizing the training rows gave."""

    rows: int
    rows_too_long: int
    tokens: int
    trained_tokens: int


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
    report: Reporter,
) -> TokenCounts:
    """Write the tokens of every row of at most ``max_seq_len`` tokens to ``folder``.

    Raises:
        UserError: no row is short enough, or the template ends no assistant turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    offsets = [0]
    too_long = trained_tokens = ended = 0
    with (
        train_file.open("rb") as rows,
        (folder / "ids.bin").open("wb") as ids_file,
        (folder / "trained.bin").open("wb") as trained_file,
    ):
        for number, line in enumerate(rows):
            chat = render_chat(tokenizer, json.loads(line)["messages"])
            if len(chat.input_ids) > max_seq_len:
                too_long += 1
                continue
            mask = np.array(chat.trained, dtype=np.bool_)
            mask[0] = False  # nothing comes before the first token that could predict it
            np.array(chat.input_ids, dtype=np.int32).tofile(ids_file)
            mask.tofile(trained_file)
            offsets.append(offsets[-1] + len(mask))
            trained_tokens += int(mask.sum())
            ended += _ends_with_special(tokenizer, chat.input_ids, chat.turns)
            if number % 1000 == 0:
                report("tokenize", number, 0)
    np.array(offsets, dtype=np.int64).tofile(folder / "offsets.bin")
    if len(offsets) == 1:
        raise UserError(
            f"every training row has more than training.max_seq_len ({max_seq_len}) tokens: "
            "raise it"
        )
    if not ended:
        raise UserError(
            "the chat template ends no assistant turn with a token of its own, so that the model "
            "would never learn to stop: set training.chat_template to one that does (plain ends "
            "turns with the tokenizer's end token)"
        )
    return TokenCounts(len(offsets) - 1, too_long, offsets[-1], trained_tokens)


def _ends_with_special(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], turns: list[tuple[int, int]]
) -> bool:
    last = ids[turns[-1][1] - 1] if turns else None
    return last in tokenizer.all_special_ids or last in tokenizer.added_tokens_decoder
