"""From rows of any shape to tokens and what is trained on, many at a time.

The one place where this is decided: training, the token report, the preview and the held-out
evaluation all call it, so that what is shown is what is trained and what is measured.
"""

from __future__ import annotations

# transformers' tokenizers have no complete types.
# pyright: reportUnknownMemberType=false
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ft_assets.data.shapes import IGNORED, Chat, Row, Segments, Text, Tokens
from ft_assets.training.chat import ends_of, trained_ranges
from ft_assets.training.mask import ASSISTANT_TURNS, MaskPolicy
from ft_assets.training.turns import LocatedChat, Span, locate_turns
from resources.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 256
"""Rows that are tokenized at once; the tokenizer uses all cores for them."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row as the model sees it."""

    ids: list[int]
    """Token ids; length L."""
    trained: list[Span]
    """Token ranges [start, end) that are trained on, in order; none starts at 0."""
    cut: int = 0
    """Tokens that were cut off at the end: raw text alone is cut."""
    ended: bool = True
    """Whether the last trained range ends in a special token."""

    @property
    def trained_tokens(self) -> int:
        """How many tokens are trained on."""
        return sum(end - start for start, end in self.trained)

    @property
    def mask(self) -> list[bool]:
        """Per token, whether it is trained on; length L."""
        mask = [False] * len(self.ids)
        for start, end in self.trained:
            mask[start:end] = [True] * (end - start)
        return mask

    @property
    def labels(self) -> list[int]:
        """Per token, itself or -100; length L."""
        return [i if t else IGNORED for i, t in zip(self.ids, self.mask, strict=True)]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    row: Row,
    policy: MaskPolicy = ASSISTANT_TURNS,
    max_length: int | None = None,
) -> EncodedRow:
    """One row as tokens; see :func:`encode_many`."""
    return next(encode_many(tokenizer, [row], policy, max_length))


def encode_many(
    tokenizer: PreTrainedTokenizerBase,
    rows: Iterable[Row],
    policy: MaskPolicy = ASSISTANT_TURNS,
    max_length: int | None = None,
    name: str | None = None,
) -> Iterator[EncodedRow]:
    """Rows as tokens, in order, in constant memory.

    Chats go through the tokenizer's chat template; segments are tokenized one by one with nothing
    added; raw text gets the tokenizer's own start and end tokens and is cut at ``max_length``;
    tokens stay as they are. Errors name a row as row N of ``name``, where that is given.

    Raises:
        UserError: the template cannot render a chat, or a token is not in the vocabulary.
    """
    ends = ends_of(tokenizer)
    first = 1
    for some in _batches(rows):
        located: dict[int, LocatedChat] = {}
        for number, row in enumerate(some, first):
            with _naming(name, number):
                if isinstance(row, Chat):
                    located[number] = _located(tokenizer, row, policy)
        chats = _chats(tokenizer, located.values(), policy, ends)
        for number, row in enumerate(some, first):
            with _naming(name, number):
                if isinstance(row, Chat):
                    made = next(chats)
                elif isinstance(row, Segments):
                    made = _segments(tokenizer, row, ends)
                elif isinstance(row, Text):
                    made = _text(tokenizer, row, max_length)
                else:
                    made = _tokens(tokenizer, row, ends)
            yield made
        first += len(some)


@contextmanager
def _naming(name: str | None, number: int) -> Generator[None]:
    """Say which row an error is about."""
    try:
        yield
    except UserError as error:
        if name is None:
            raise
        raise UserError(f"{name}, row {number}: {error}") from error


def _batches(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _located(tokenizer: PreTrainedTokenizerBase, chat: Chat, policy: MaskPolicy) -> LocatedChat:
    messages = [{**m.for_template(), "train": m.train} for m in chat.messages]
    return locate_turns(tokenizer, messages, chat.tools, policy)


def _chats(
    tokenizer: PreTrainedTokenizerBase,
    located: Collection[LocatedChat],
    policy: MaskPolicy,
    ends: set[int],
) -> Iterator[EncodedRow]:
    if not located:
        return
    encoding = tokenizer(
        [chat.text for chat in located], add_special_tokens=False, return_offsets_mapping=True
    )
    all_ids: list[list[int]] = encoding["input_ids"]
    all_offsets: list[list[Span]] = encoding["offset_mapping"]
    for chat, ids, offsets in zip(located, all_ids, all_offsets, strict=True):
        yield _made(ids, trained_ranges(chat, ids, offsets, ends, policy), ends)


def _segments(tokenizer: PreTrainedTokenizerBase, row: Segments, ends: set[int]) -> EncodedRow:
    texts = [segment.text for segment in row.segments]
    pieces: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    ids: list[int] = []
    trained: list[Span] = []
    for segment, piece in zip(row.segments, pieces, strict=True):
        if segment.label and piece:
            trained.append((len(ids), len(ids) + len(piece)))
        ids += piece
    return _made(ids, trained, ends)


def _text(tokenizer: PreTrainedTokenizerBase, row: Text, max_length: int | None) -> EncodedRow:
    ids: list[int] = tokenizer(row.text)["input_ids"]
    end = tokenizer.eos_token_id
    if isinstance(end, int) and (not ids or ids[-1] != end):
        ids = [*ids, end]
    kept = ids if max_length is None else ids[:max_length]
    return EncodedRow(kept, [(1, len(kept))] if len(kept) > 1 else [], cut=len(ids) - len(kept))


def _tokens(tokenizer: PreTrainedTokenizerBase, row: Tokens, ends: set[int]) -> EncodedRow:
    size = len(tokenizer)
    bad = next((i for i in row.input_ids if i >= size), None)
    if bad is not None:
        raise UserError(
            f"a row holds the token {bad} and the base model's tokenizer has {size}: the rows were "
            "tokenized for another model; bring the rows of this one, or their text"
        )
    marks = [label != IGNORED for label in row.labels]
    changes = [n for n in range(len(marks)) if marks[n] != (n > 0 and marks[n - 1])]
    edges = [*changes, len(marks)] if len(changes) % 2 else changes
    return _made(list(row.input_ids), list(zip(edges[::2], edges[1::2], strict=True)), ends)


def _made(ids: list[int], trained: list[Span], ends: set[int]) -> EncodedRow:
    """Without the first token: nothing comes before it that could predict it."""
    kept = [(max(start, 1), end) for start, end in trained if end > max(start, 1)]
    return EncodedRow(ids, kept, ended=bool(kept) and ids[kept[-1][1] - 1] in ends)
