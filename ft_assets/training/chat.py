"""From chat messages to tokens, and which of those tokens an assistant said.

Training masks with it and the held-out evaluation scores with it, so that what is trained is what
is measured. The chat template is the tokenizer's own; nothing here knows a template by name.

The trained span of an assistant turn is its content and the token that ends the turn, as in
instructlab-training and in axolotl's ``train_on_eos: turn``. Headers, system, user and tool turns
are context.
"""

from __future__ import annotations

# transformers' tokenizers have no complete types.
# pyright: reportUnknownMemberType=false
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]

# Private-use characters that no chat template touches and that real text does not hold.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"


@dataclass(frozen=True)
class RenderedChat:
    """One conversation as the model sees it."""

    text: str
    """The conversation in the model's chat template."""
    input_ids: list[int]
    """Token ids of ``text``; length L."""
    turns: list[tuple[int, int]]
    """Token range [start, end) of each assistant turn: its content and the token that ends it."""

    @property
    def trained(self) -> list[bool]:
        """Per token, whether an assistant said it; length L."""
        mask = [False] * len(self.input_ids)
        for start, end in self.turns:
            mask[start:end] = [True] * (end - start)
        return mask


def render_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> RenderedChat:
    """Render ``messages`` with the tokenizer's chat template and locate the assistant turns.

    Raises:
        UserError: the tokenizer has no chat template, or the template rewrites assistant turns so
            that they cannot be found again in what it renders.
    """
    text = _apply(tokenizer, messages)
    spans = _assistant_spans(tokenizer, messages, text)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets: list[tuple[int, int]] = encoding["offset_mapping"]
    ids: list[int] = encoding["input_ids"]
    ends = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    turns = [_token_range(text, ids, offsets, span, ends) for span in spans]
    return RenderedChat(text=text, input_ids=ids, turns=turns)


def _apply(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise UserError(
            "the base model's tokenizer has no chat template: set training.chat_template to a "
            "name (such as chatml) or to a Jinja template"
        )
    try:
        rendered = tokenizer.apply_chat_template([dict(m) for m in messages], tokenize=False)
    except TemplateError as error:
        raise UserError(
            f"the base model's chat template refuses a conversation: {error}: change the rows, or "
            "set training.chat_template where the model has none"
        ) from error
    assert isinstance(rendered, str)
    return rendered


def _assistant_spans(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], text: str
) -> list[tuple[int, int]]:
    """Character spans of what the assistant says in ``text``.

    Found by rendering the contents between two markers: as they are, and, for templates that trim
    them, without the white space around them.
    """
    assistants = sum(message["role"] == "assistant" for message in messages)
    for trimmed in (False, True):
        marked = _apply(tokenizer, [_mark(message, trimmed=trimmed) for message in messages])
        spans = _between_markers(marked)
        if len(spans) == assistants and _without_markers(marked) == text:
            return spans
    raise UserError(
        "the chat template rewrites what the assistant says, so that the tokens to train on "
        "cannot be located: use a base model whose template renders every turn as it is"
    )


def _mark(message: Message, *, trimmed: bool) -> Message:
    if message["role"] != "assistant":
        return message
    content = str(message["content"])
    return {**message, "content": f"{_OPEN}{content.strip() if trimmed else content}{_CLOSE}"}


def _without_markers(text: str) -> str:
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def _between_markers(marked: str) -> list[tuple[int, int]]:
    """Spans between the markers, as positions in the text without them.

    None at all when a marker has lost its partner: the template has cut a turn.
    """
    spans: list[tuple[int, int]] = []
    start: int | None = None
    markers = 0
    for position, char in enumerate(marked):
        if char not in (_OPEN, _CLOSE):
            continue
        if (char == _OPEN) != (start is None):
            return []
        if start is None:
            start = position - markers
        else:
            spans.append((start, position - markers))
            start = None
        markers += 1
    return spans if start is None else []


def _token_range(
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    span: tuple[int, int],
    ends: set[int],
) -> tuple[int, int]:
    """The tokens that overlap a character span, and the special token that ends the turn, if any.

    Some templates put a space before that token; it then belongs to the turn too.
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
    return start, (after + 1 if after < len(ids) and ids[after] in ends else stop)
