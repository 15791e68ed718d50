"""The training rows as tokens: which are kept, which are not, and how many tokens they are.

Every backend and the token report go through here, so that what the report counts is what the
backend trains on. How the tokens are stored is the backend's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

from ft_assets.data.row_files import read_rows
from ft_assets.data.shapes import Chat
from ft_assets.training.encode import EncodedRow, encode_many
from ft_assets.training.mask import MaskPolicy
from resources.errors import UserError
from resources.launcher.child import Reporter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class TokenCounts:
    """What tokenizing the training rows gave; complete when the last row was taken."""

    rows: int = 0
    """Rows that are trained on."""
    rows_too_long: int = 0
    """Rows of more than ``max_seq_len`` tokens: left out."""
    rows_untrained: int = 0
    """Rows of which the mask leaves nothing: left out."""
    rows_cut: int = 0
    """Raw text that was cut at the sequence length."""
    tokens: int = 0
    trained_tokens: int = 0
    rows_ended: int = 0
    """Chats whose last trained token is a special one."""
    rows_as_they_are: int = 0
    """Segments, raw text and tokens: no template gives them an end, and they need none."""


def training_rows(
    train_file: Path,
    tokenizer: PreTrainedTokenizerBase,
    max_seq_len: int,
    policy: MaskPolicy,
    *,
    report: Reporter,
    counts: TokenCounts,
) -> Iterator[EncodedRow]:
    """The rows that are trained on, as tokens, in order; ``counts`` is filled on the way.

    Raises:
        UserError: when the last row was taken: there was none to train on.
    """
    # The copy holds no more rows than encode_many does: those that it takes at once.
    rows, sources = tee(stored.row for stored in read_rows(train_file))
    encoded = encode_many(tokenizer, rows, policy, max_seq_len, train_file.name)
    for number, (source, row) in enumerate(zip(sources, encoded, strict=True)):
        if number % 1000 == 0:
            report("tokenize", number, 0)
        if len(row.ids) > max_seq_len:
            counts.rows_too_long += 1
        elif not row.trained:
            counts.rows_untrained += 1
        else:
            counts.rows += 1
            counts.rows_cut += row.cut > 0
            counts.tokens += len(row.ids)
            counts.trained_tokens += row.trained_tokens
            if isinstance(source, Chat):
                counts.rows_ended += row.ended
            else:
                counts.rows_as_they_are += 1
            yield row
    _refuse_useless(counts, max_seq_len, policy)


def write_token_rows(
    train_file: Path,
    target: Path,
    tokenizer: PreTrainedTokenizerBase,
    max_seq_len: int,
    policy: MaskPolicy,
    *,
    report: Reporter,
) -> TokenCounts:
    """Write ``target``, JSON Lines with ``input_ids``, ``labels`` and ``len``.

    The form that instructlab-training and mini-trainer take for processed data.

    Raises:
        UserError: as :func:`training_rows`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    counts = TokenCounts()
    rows = training_rows(train_file, tokenizer, max_seq_len, policy, report=report, counts=counts)
    with target.open("w") as stream:
        for row in rows:
            line = {
                "input_ids": row.ids,
                "labels": row.labels,
                "len": len(row.ids),
                "num_loss_counted_tokens": row.trained_tokens,
            }
            stream.write(json.dumps(line) + "\n")
    return counts


def _refuse_useless(counts: TokenCounts, max_seq_len: int, policy: MaskPolicy) -> None:
    """Refuse rows from which nothing, or no end, would be learnt."""
    if not counts.rows and counts.rows_too_long:
        raise UserError(
            f"every training row has more than training.max_seq_len ({max_seq_len}) tokens: "
            "raise it"
        )
    if not counts.rows:
        raise UserError(
            "no token of any training row is trained on: training.roles_to_train is "
            f"{', '.join(policy.roles_to_train) or 'empty'}; name a role that speaks in the rows, "
            "or let the rows' own train flags say what is trained"
        )
    chats = counts.rows - counts.rows_as_they_are
    if chats and not counts.rows_ended and policy.train_on_eos != "none":
        raise UserError(
            "the chat template ends no assistant turn with a token of its own, so that the model "
            "would never learn to stop: set training.chat_template to one that does (plain ends "
            "turns with the tokenizer's end token), or training.train_on_eos: none"
        )
