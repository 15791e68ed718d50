"""Answers of a model to held-out questions: greedy, in batches, padded on the left.

Belongs here: prompts as text and tokens, generation, and the text that is scored. Does not belong
here: which rows are asked (:mod:`~ft_assets.evaluation.generation_rows`) and how answers are
scored (:mod:`~ft_assets.evaluation.answer_scores`). A question is a ``generate_until`` request of
the task ``held_out``, so that whatever answers such requests (a cache, another backend) answers it
too. Only the worker imports this at work.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ft_assets.evaluation.answer_scores import with_canonical_calls, without_reasoning
from ft_assets.evaluation.generation_rows import Question, question
from ft_assets.evaluation.plan import HELD_OUT
from ft_assets.training.chat import ends_of
from ft_assets.training.encode import encode
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lm_eval.api.instance import Instance

    from ft_assets.evaluation.held_out import HeldOutRow, HeldOutRows
    from ft_assets.evaluation.scoring import ChatModel

_TOKENS = {"cpu": 8192, "cuda": 65536}
"""Tokens, room for the answers included, of a batch when the batch is ``auto``."""
_ROWS = {"cpu": 16, "cuda": 128}
"""Rows of a batch at most when the batch is ``auto``."""
_SLACK = 16  # tokens beyond twice the reference, for answers to very short ones


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one row."""

    number: int
    """Of the row, counted from 0."""
    reference: str
    text: str | None
    """What the user is told, reasoning cut and tool calls canonical; None if it was not asked."""
    skipped: str | None = None
    """Why it was not asked."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    index: int
    ids: list[int]
    room: int
    """Tokens that the answer may have."""


def held_out_answers(
    lm: ChatModel, rows: HeldOutRows, numbers: Sequence[int], max_new_tokens: int
) -> list[Answer]:
    """Ask the model the last question of each row.

    A prompt that leaves no room for an answer is not cut: its row is skipped. An answer is stopped
    at ``max_new_tokens``, at the model's length, and where it is more than twice as long as the
    reference: what follows could make no score better, and would cost the most.

    Raises:
        UserError: the chat template refuses a row.
    """
    ends: list[str] | None = None
    asked: list[tuple[int, Question, str]] = []
    answers: dict[int, Answer] = {}
    requests: list[Instance] = []
    for number in numbers:
        row = rows[number]
        content = question(row.content)
        assert content is not None  # such rows are not chosen
        ends = _ends_of_turn(lm, row) if ends is None else ends
        text = _prompt_text(lm, rows, row, content)
        room = lm.max_length - len(_tokens(lm, text))
        if room < 1:
            reason = f"the prompt fills the model's {lm.max_length} tokens"
            answers[number] = Answer(number, content.reference, None, reason)
        else:
            asked.append((number, content, text))
            longest = min(room, max_new_tokens, _longest_answer(lm, content.reference))
            requests.append(_request(number, text, int(longest), ends))
    said = lm.generate_until(requests) if requests else []
    for (number, content, text), answer in zip(asked, said, strict=True):
        told = without_reasoning(answer, opened=text.rstrip().endswith("<think>"))
        told = with_canonical_calls(told) if content.calls else told
        answers[number] = Answer(number, content.reference, told)
    return [answers[number] for number in numbers]


def _prompt_text(lm: ChatModel, rows: HeldOutRows, row: HeldOutRow, asked: Question) -> str:
    """What the model reads: the conversation in its own chat template, up to its answer."""
    from jinja2 import TemplateError

    if not asked.messages:
        return asked.text
    try:
        return lm.tokenizer.apply_chat_template(
            asked.messages,
            tools=asked.tools,
            tokenize=False,
            add_generation_prompt=True,
            **lm.chat_template_args,
        )
    except (TemplateError, TypeError, ValueError) as error:  # templates compute with what they get
        raise UserError(f"{rows.where(row)}: the chat template refuses it: {error}") from error


def _longest_answer(lm: ChatModel, reference: str) -> float:
    """Tokens after which an answer to a short reference is stopped; not for models that reason
    first, whose answer comes at the end."""
    if "think" in str(lm.tokenizer.chat_template):
        return math.inf
    return 2 * len(_tokens(lm, reference)) + _SLACK


def _request(number: int, text: str, room: int, ends: list[str]) -> Instance:
    from lm_eval.api.instance import Instance

    return Instance(
        request_type="generate_until",
        doc={"number": number},
        arguments=(text, {"until": list(ends), "max_gen_toks": room, "do_sample": False}),
        idx=0,
        metadata=(HELD_OUT, number, 1),
    )


def _ends_of_turn(lm: ChatModel, row: HeldOutRow) -> list[str]:
    """The token behind the row's last answer, where it is one that ends turns.

    A base model under a chat template that is not its own stops at another one.
    """
    encoded = encode(lm.tokenizer, row.content)
    last = encoded.ids[encoded.trained[-1][1] - 1] if encoded.trained else None
    return [lm.tokenizer.decode([last])] if last in ends_of(lm.tokenizer) else []


def generate(lm: ChatModel, requests: Sequence[Instance]) -> list[str]:
    """Answer requests of :func:`held_out_answers`, in their order, each up to its stop token.

    Not lm-eval's own ``generate_until``: that one cuts prompts, adds tokens to them that the chat
    template did not ask for, drops the tokens that mark reasoning and calls, and follows a
    repetition penalty of the model's generation config.
    """
    prompts: list[_Prompt] = []
    for index, request in enumerate(requests):
        text, given = cast("tuple[str, dict[str, Any]]", request.args)
        prompts.append(_Prompt(index, _tokens(lm, text), given["max_gen_toks"]))
    wanted = [cast("tuple[str, dict[str, Any]]", request.args)[1] for request in requests]
    ends = sorted({end for given in wanted for end in given["until"]})
    named: list[int | None] = lm.tokenizer.convert_tokens_to_ids(ends)
    known = {token for token in named if token is not None} - {lm.tokenizer.unk_token_id}
    stops = sorted(stop_tokens(lm) | known)
    answers = [""] * len(prompts)
    for batch in _batches(prompts, lm):
        for prompt, text in zip(batch, _answer_batch(lm, batch, stops), strict=True):
            answers[prompt.index] = text
            lm.cache_hook.add_partial("generate_until", requests[prompt.index].args, text)
    return answers


def stop_tokens(lm: ChatModel) -> set[int]:
    """The tokens that end an answer: those of the generation config, and the tokenizer's own."""
    config = lm.model.generation_config.eos_token_id
    named = [config] if isinstance(config, int) else list(config or ())
    return {token for token in (*named, lm.tokenizer.eos_token_id) if token is not None}


def _tokens(lm: ChatModel, text: str) -> list[int]:
    return lm.tokenizer(text, add_special_tokens=False)["input_ids"]


def _batches(prompts: list[_Prompt], lm: ChatModel) -> Iterator[list[_Prompt]]:
    """Those with the longest answers first, so that a batch seldom waits for one of its rows."""
    kind = lm.device.type if lm.device.type in _TOKENS else "cpu"
    ordered = sorted(prompts, key=lambda prompt: (-prompt.room, -len(prompt.ids), prompt.index))
    while ordered:
        longest = max(len(prompt.ids) for prompt in ordered[: _ROWS[kind]]) + ordered[0].room
        auto = max(1, min(_ROWS[kind], _TOKENS[kind] // longest))
        count = auto if lm.chat_batch == "auto" else int(lm.chat_batch)
        yield ordered[:count]
        ordered = ordered[count:]


def _answer_batch(lm: ChatModel, batch: Sequence[_Prompt], stops: list[int]) -> list[str]:
    """Per prompt, what the model says. A batch that does not fit on the GPU is halved."""
    import torch

    try:
        return _generate(lm, batch, stops)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return _answer_batch(lm, batch[:half], stops) + _answer_batch(lm, batch[half:], stops)


def _generate(lm: ChatModel, batch: Sequence[_Prompt], stops: list[int]) -> list[str]:
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    from ft_assets.evaluation.scoring import autocast

    width = max(len(prompt.ids) for prompt in batch)
    pad = stops[0] if stops else 0  # what pads is masked: any token will do
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, prompt in enumerate(batch):
        ids[number, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[number, width - len(prompt.ids) :] = 1
    # Each value is said here, for what is not said comes from the model's own configuration.
    greedy = GenerationConfig(
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=max(prompt.room for prompt in batch),
        eos_token_id=stops or None,
        pad_token_id=pad,
        use_cache=True,
    )
    rooms = torch.tensor([prompt.room for prompt in batch], device=lm.device)

    def full(so_far: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        return so_far.shape[1] - width >= rooms

    with torch.inference_mode(), autocast(lm):
        said = lm.model.generate(
            input_ids=ids.to(lm.device),
            attention_mask=mask.to(lm.device),
            generation_config=greedy,
            stopping_criteria=StoppingCriteriaList([cast("Any", full)]),
        )[:, width:].tolist()
    return [
        _decoded(lm, tokens[: prompt.room], set(stops))
        for prompt, tokens in zip(batch, said, strict=True)
    ]


def _decoded(lm: ChatModel, tokens: list[int], stops: set[int]) -> str:
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens))
    # Special tokens stay: some models mark reasoning and calls with them.
    return lm.tokenizer.decode(
        tokens[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
