"""Where in a rendered conversation the turns stand: found by rendering it between marks.

The chat template is the tokenizer's own; nothing here knows a template by name. Belongs here:
characters. Does not belong here: tokens (:mod:`~ft_assets.training.chat`).
"""

from __future__ import annotations

# transformers' tokenizers have no complete types.
# pyright: reportUnknownMemberType=false
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ft_assets.training.mask import MaskPolicy
from resources.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]
Tools = Sequence[Mapping[str, Any]]
Span = tuple[int, int]

# Private-use characters that no chat template touches; a pair that the conversation does not hold
# is taken (icon fonts use some of them).
_MARKS = [(chr(first), chr(first + 1)) for first in range(0xE0F0, 0xE1F0, 2)]
_NAME = "name"


@dataclass(frozen=True)
class LocatedChat:
    """A rendered conversation, not yet tokens: many are tokenized at once."""

    text: str
    spans: dict[int, Span]
    """Per turn that matters, by its place in the chat, its characters in ``text``."""
    whole: frozenset[int]
    """Turns whose characters include the token that ends them."""
    trained: list[bool]
    """Per turn of the chat, whether its content is trained on."""


def locate_turns(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Tools | None,
    policy: MaskPolicy,
) -> LocatedChat:
    """The text of a conversation, and where in it the turns that matter stand."""
    shown = [{k: v for k, v in message.items() if k != "train"} for message in messages]
    trained = [policy.trains(message["role"], message.get("train")) for message in messages]
    matter = {place for place, is_trained in enumerate(trained) if is_trained}
    if policy.train_on_eos == "all":
        matter = set(range(len(messages)))
    elif policy.train_on_eos == "last":
        matter.add(len(messages) - 1)
    text = _apply(tokenizer, shown, tools)
    marks = _unused_marks(shown)
    spans = _marked_spans(tokenizer, shown, tools, text=text, matter=matter, marks=marks)
    whole: set[int] = set()
    turns: dict[int, Span] = {}
    for place, found in spans.items():
        message = shown[place]
        turns[place] = found[0][0], found[-1][1]
        if message.get("tool_calls") or message.get("reasoning_content"):
            turn = _whole_turn(tokenizer, text, turns[place], marks)
            if turn is not None:
                turns[place] = turn
                whole.add(place)
            elif message.get("tool_calls"):
                raise _not_found("tool calls")
    return LocatedChat(text, turns, frozenset(whole), trained)


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Tools | None,
    *,
    up_to_answer: bool = False,
) -> str:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise UserError(
            "the base model's tokenizer has no chat template: set training.chat_template to a "
            "name (such as chatml) or to a Jinja template"
        )
    given: Any = [dict(tool) for tool in tools] if tools else None
    try:
        rendered = tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            tools=given,
            tokenize=False,
            add_generation_prompt=up_to_answer,
        )
    except (TemplateError, TypeError, ValueError) as error:  # templates compute with what they get
        raise UserError(
            f"the base model's chat template refuses a conversation: {error}: change the rows, or "
            "set training.chat_template where the model has none"
        ) from error
    assert isinstance(rendered, str)
    return rendered


Marks = tuple[str, str]
"""What is put before and behind a text to find it again."""


def _unused_marks(messages: Sequence[Message]) -> Marks:
    held = orjson.dumps(messages, default=str).decode()
    return next((pair for pair in _MARKS if not any(mark in held for mark in pair)), _MARKS[0])


def _marked_spans(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Tools | None,
    *,
    text: str,
    matter: set[int],
    marks: Marks,
) -> dict[int, list[Span]]:
    """Characters of what the turns in ``matter`` say: their content, and the names they call.

    Found by rendering these between two marks: as they are, and, for templates that trim
    contents, without the white space around them.
    """
    for trimmed in (False, True):
        marked = list(messages)
        pieces: dict[int, int] = {}
        for place in sorted(matter):
            marked[place], pieces[place] = _mark(messages[place], marks, trimmed=trimmed)
        rendered = _apply(tokenizer, marked, tools)
        spans = _between_marks(rendered, marks)
        if len(spans) == sum(pieces.values()) and _without_marks(rendered, marks) == text:
            found = iter(spans)
            return {place: [next(found) for _ in range(n)] for place, n in pieces.items()}
    raise _not_found("turns")


def _not_found(what: str) -> UserError:
    return UserError(
        f"the chat template rewrites what a turn says ({what}), so that the tokens to train on "
        "cannot be located: use a base model whose template renders every turn as it is; where "
        "answers hold <think>, set dataset.split_thinking: true"
    )


def _mark(message: Message, marks: Marks, *, trimmed: bool) -> tuple[Message, int]:
    """The message with what it says between marks, and how many pieces that are.

    An empty content beside calls stays empty: templates ask whether there is one.
    """
    opening, closing = marks
    content = str(message["content"])
    shown = content.strip() if trimmed else content
    calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    marked: dict[str, Any] = dict(message)
    pieces = 0
    if content.strip() or not calls:
        marked["content"] = f"{opening}{shown}{closing}"
        pieces += 1
    if calls:
        marked["tool_calls"] = [_marked_call(call, marks) for call in calls]
    return marked, pieces + len(calls)


def _marked_call(call: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    function = dict(call["function"])
    function[_NAME] = f"{marks[0]}{function[_NAME]}{marks[1]}"
    return {**call, "function": function}


def _whole_turn(
    tokenizer: PreTrainedTokenizerBase, text: str, said: Span, marks: Marks
) -> Span | None:
    """Characters of all that an assistant's turn renders, with the token that ends it.

    From where the model begins to speak, which is what the template adds for an answer, to the
    token that ends an answer. None where the template does not say where that is.
    """
    asked: list[Message] = [{"role": "user", "content": "x"}]
    answered = [*asked, {"role": "assistant", "content": f"{marks[0]}y{marks[1]}"}]
    before = _apply(tokenizer, asked, None)
    opening = _apply(tokenizer, asked, None, up_to_answer=True).removeprefix(before)
    tail = _apply(tokenizer, answered, None).rpartition(marks[1])[2].strip()
    special = [*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())]
    ending = max((end for end in special if end and tail.startswith(end)), key=len, default="")
    start = text.rfind(opening, 0, said[0]) if opening else -1
    stop = text.find(ending, said[1]) if ending else -1
    if start < 0 or stop < 0 or ending in text[start + len(opening) : said[0]]:
        return None
    return start + len(opening), stop + len(ending)


def _without_marks(text: str, marks: Marks) -> str:
    return text.replace(marks[0], "").replace(marks[1], "")


def _between_marks(marked: str, marks: Marks) -> list[Span]:
    """Spans between the marks, as positions in the text without them.

    None at all when a mark has lost its partner: the template has cut a turn.
    """
    spans: list[Span] = []
    start: int | None = None
    seen = 0
    for position, char in enumerate(marked):
        if char not in marks:
            continue
        if (char == marks[0]) != (start is None):
            return []
        if start is None:
            start = position - seen
        else:
            spans.append((start, position - seen))
            start = None
        seen += 1
    return spans if start is None else []
