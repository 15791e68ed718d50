"""From chat messages to tokens, and which of those tokens are trained on.

Training masks with it and the held-out evaluation scores with it, so that what is trained is what
is measured. The chat template is the tokenizer's own; nothing here knows a template by name.

The trained span of a turn is its content and the token that ends the turn, as in
instructlab-training and in axolotl's ``train_on_eos: turn``; of an assistant's turn also its
reasoning and its tool calls, as far as the template shows them. Headers are never trained on.
"""

from __future__ import annotations

# transformers' tokenizers have no complete types.
# pyright: reportUnknownMemberType=false
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ft_assets.training.mask import ASSISTANT_TURNS, MaskPolicy
from ft_assets.training.turns import LocatedChat, Message, Span, Tools, locate_turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RenderedChat:
    """One conversation as the model sees it."""

    text: str
    """The conversation in the model's chat template."""
    input_ids: list[int]
    """Token ids of ``text``; length L."""
    turns: list[Span]
    """Token ranges [start, end) that are trained on: with the default policy, of each assistant
    turn its content and the token that ends it."""

    @property
    def trained(self) -> list[bool]:
        """Per token, whether it is trained on; length L."""
        mask = [False] * len(self.input_ids)
        for start, end in self.turns:
            mask[start:end] = [True] * (end - start)
        return mask


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Tools | None = None,
    policy: MaskPolicy = ASSISTANT_TURNS,
) -> RenderedChat:
    """Render ``messages`` with the tokenizer's chat template and locate what is trained on.

    Args:
        tokenizer: the base model's, with a chat template.
        messages: turns as the template knows them; ``train`` of a turn decides about it.
        tools: JSON schemas of functions, for templates that show them.
        policy: which turns are trained on where the turn does not say so itself.

    Raises:
        UserError: the tokenizer has no chat template, or the template rewrites turns so that they
            cannot be found again in what it renders.
    """
    located = locate_turns(tokenizer, messages, tools, policy)
    encoding = tokenizer(located.text, add_special_tokens=False, return_offsets_mapping=True)
    offsets: list[Span] = encoding["offset_mapping"]
    ids: list[int] = encoding["input_ids"]
    return RenderedChat(
        text=located.text,
        input_ids=ids,
        turns=trained_ranges(located, ids, offsets, ends_of(tokenizer), policy),
    )


def ends_of(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that can end a turn: the special and the added ones."""
    return {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}


def trained_ranges(
    located: LocatedChat,
    ids: Sequence[int],
    offsets: Sequence[Span],
    ends: set[int],
    policy: MaskPolicy,
) -> list[Span]:
    """The token ranges that are trained on, in order."""
    ranges: list[Span] = []
    last = len(located.trained) - 1
    for place, span in sorted(located.spans.items()):
        start, stop, after = _token_range(located.text, ids, offsets, span, ends)
        if place in located.whole:  # the token that ends the turn stands inside
            after = stop
            stop = next((i for i in range(stop - 1, start, -1) if ids[i] in ends), stop)
        with_end = policy.train_on_eos in ("turn", "all") and (
            located.trained[place] or policy.train_on_eos == "all"
        )
        with_end = with_end or (policy.train_on_eos == "last" and place == last)
        found = (start if located.trained[place] else stop, after if with_end else stop)
        if found[0] < found[1] or located.trained[place]:
            ranges.append(found)
    return ranges


def _token_range(
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    span: tuple[int, int],
    ends: set[int],
) -> tuple[int, int, int]:
    """First token of a character span, the one behind its last, and the one behind the turn's end.

    The turn's end is the special token that follows, if any. Some templates put a space before
    it; that then belongs to the end too.
    """
    start = next((i for i, (_, end) in enumerate(offsets) if end > span[0]), len(offsets))
    stop = start
    while stop < len(offsets) and offsets[stop][0] < span[1]:
        stop += 1
    after = stop
    while (
        after < len(ids) and not text[slice(*offsets[after])].strip(" ") and ids[after] not in ends
    ):
        after += 1
    return start, stop, (after + 1 if after < len(ids) and ids[after] in ends else stop)
