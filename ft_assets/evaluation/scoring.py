"""The model side of the held-out evaluation: the likelihood of every assistant turn.

Rows become tokens with :func:`ft_assets.training.encode.encode`, as for training. What is scored
is what the rows' own flags and the default policy train on (every assistant turn), whatever policy
the training had, so that reports can be compared. Each row costs one forward pass, shared with rows
of like length; logits are computed at the scored positions only, where the model can do that, and
turned into likelihoods in 32 bits. Memory does not grow with the split. Only the worker imports
this at work.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ft_assets.evaluation.scores import RowScore, TurnScore
from ft_assets.training.encode import EncodedRow, encode
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from ft_assets.evaluation.held_out import HeldOutRow, HeldOutRows

WINDOW = 256
"""Rows that are rendered and sorted by length at a time."""

AUTO_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens, padding included, of a forward pass when the batch is ``auto``."""

_POSITIONS = 1024  # scored positions whose logits are turned into 32-bit likelihoods at a time


class ChatModel(Protocol):
    """What is used here of lm-eval's Hugging Face model, and what is added to it."""

    model: Any
    dtype_name: str
    """Type of the weights, such as ``torch.bfloat16``, whether or not they are read already."""
    tokenizer: Any
    called: str
    """What messages call it."""
    device: torch.device
    max_length: int
    """Tokens that the model sees at most."""
    mixed_precision_dtype: torch.dtype | None
    chat_template_args: dict[str, Any]
    """Further arguments of the chat template where it asks for an answer."""
    cache_hook: Any
    """lm-eval's: told of each answer as soon as it is there."""
    task_versions: dict[str, str]
    """Per task, what its requests do not show of how they are answered: part of a cache's key."""
    seed: int
    """Of what is drawn: part of a cache's key."""
    quiet: bool
    """Whether progress bars stay off."""
    chat_batch: str
    """Rows per forward pass of ``score_chat``, or ``auto``."""
    on_scored: Callable[[int], None] | None
    """Told how many held-out rows were scored, after each batch."""

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """What the model says to each prompt."""
        ...


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A row as token ids, cut behind its last turn that fits."""

    index: int
    ids: list[int]
    turns: list[tuple[int, int]]
    """Token ranges [start, end) to score; start is at least 1."""
    score: RowScore


def score_rows(
    lm: ChatModel,
    rows: Sequence[tuple[HeldOutRows, int]],
) -> list[RowScore]:
    """Score each row, given as its file and its number there.

    A row that is longer than the model's length is not cut silently: only its complete turns that
    fit are scored, and the rest is counted in ``left_out``.

    Raises:
        UserError: the chat template cannot render a row.
    """
    scores: list[RowScore | None] = [None] * len(rows)
    for start in range(0, len(rows), WINDOW):
        window = range(start, min(start + WINDOW, len(rows)))
        prepared = [_prepare(lm, index, *rows[index]) for index in window]
        for item in prepared:
            scores[item.index] = item.score
        _report(lm, sum(not item.turns for item in prepared))
        for batch in _batches([item for item in prepared if item.turns], lm):
            for item, turns in zip(batch, _score_batch(lm, batch), strict=True):
                scores[item.index] = _with_turns(item.score, turns)
            _report(lm, len(batch))
    assert None not in scores
    return [score for score in scores if score is not None]


def _prepare(lm: ChatModel, index: int, rows: HeldOutRows, number: int) -> _Prepared:
    row = rows[number]
    limit = lm.max_length
    encoded = encode_row(lm.tokenizer, rows, row, limit)
    turns = [(start, end) for start, end in encoded.trained if end <= limit]
    score = RowScore(
        row=row.row,
        id=row.id,
        length=len(encoded.ids),
        left_out=len(encoded.trained) - len(turns),
        skipped=None if turns else f"no assistant turn ends within {limit} tokens",
    )
    return _Prepared(index, encoded.ids[: turns[-1][1]] if turns else [], turns, score)


def encode_row(
    tokenizer: Any, rows: HeldOutRows, row: HeldOutRow, limit: int | None = None
) -> EncodedRow:
    """One row as tokens.

    Raises:
        UserError: the chat template does not take the row, or there is none; a token is unknown.
    """
    from jinja2 import TemplateError

    try:
        return encode(tokenizer, row.content, max_length=limit)
    except TemplateError as error:
        raise UserError(f"{rows.where(row)}: the chat template refuses it: {error}") from error
    except UserError as error:
        raise UserError(f"{rows.where(row)}: {error}") from error


def _batches(items: list[_Prepared], lm: ChatModel) -> Iterator[list[_Prepared]]:
    """Longest first, so that a lack of memory shows at once and padding stays small."""
    items = sorted(items, key=lambda item: (-len(item.ids), item.index))
    budget = AUTO_TOKENS.get(lm.device.type, AUTO_TOKENS["cpu"])
    while items:
        auto = max(1, budget // len(items[0].ids))
        count = auto if lm.chat_batch == "auto" else int(lm.chat_batch)
        yield items[:count]
        items = items[count:]


def _score_batch(lm: ChatModel, batch: Sequence[_Prepared]) -> list[list[TurnScore]]:
    """Per row, the scores of its turns. A batch that does not fit on the GPU is halved."""
    import torch

    try:
        nll, correct = _forward(lm, batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return _score_batch(lm, batch[:half]) + _score_batch(lm, batch[half:])
    scores: list[list[TurnScore]] = []
    cursor = 0
    for item in batch:
        turns: list[TurnScore] = []
        for start, end in item.turns:
            span = slice(cursor, cursor + end - start)
            turns.append(
                TurnScore(
                    nll=float(nll[span].sum()),
                    tokens=end - start,
                    correct=int(correct[span].sum()),
                )
            )
            cursor = span.stop
        scores.append(turns)
    return scores


def _forward(lm: ChatModel, batch: Sequence[_Prepared]) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood and greedy hit of every scored token, row after row.

    A token at place t is predicted from place t - 1, so the last token of a row is never fed.
    """
    import torch

    device = lm.device
    width = max(len(item.ids) for item in batch) - 1
    ids = torch.zeros(
        (len(batch), width), dtype=torch.long
    )  # what pads is masked: any token will do
    mask = torch.zeros_like(ids)
    for number, item in enumerate(batch):
        ids[number, : len(item.ids) - 1] = torch.tensor(item.ids[:-1])
        mask[number, : len(item.ids) - 1] = 1
    wanted = [
        (number, place - 1, item.ids[place])
        for number, item in enumerate(batch)
        for turn in item.turns
        for place in range(*turn)
    ]
    row, place, target = torch.tensor(wanted).unbind(1)
    places, column = torch.unique(place, return_inverse=True)
    with torch.inference_mode(), autocast(lm):
        logits = _logits_at(lm.model, ids.to(device), mask.to(device), places.to(device))
        nll: list[torch.Tensor] = []
        correct: list[torch.Tensor] = []
        for start in range(0, len(wanted), _POSITIONS):
            part = slice(start, start + _POSITIONS)
            chunk = logits[row[part].to(logits.device), column[part].to(logits.device)].float()
            said = target[part].to(chunk.device)
            picked = chunk.gather(1, said[:, None])[:, 0]
            nll.append((chunk.logsumexp(1) - picked).double().cpu())
            correct.append((chunk.argmax(1) == said).cpu())
    return torch.cat(nll), torch.cat(correct)


def _logits_at(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    """Logits [row, place, vocabulary] at ``places``, which all rows share."""
    arguments = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(**arguments, logits_to_keep=places).logits
    logits = model(**arguments).logits
    return logits[:, places.to(logits.device)]


def autocast(lm: ChatModel) -> Any:
    """The context of the model's mixed precision, if it has one."""
    import torch

    dtype = lm.mixed_precision_dtype
    return torch.autocast(device_type=lm.device.type, dtype=dtype, enabled=dtype is not None)


def _with_turns(score: RowScore, turns: list[TurnScore]) -> RowScore:
    return RowScore(score.row, score.id, score.length, tuple(turns), score.left_out)


def _report(lm: ChatModel, count: int) -> None:
    if lm.on_scored is not None and count:
        lm.on_scored(count)
