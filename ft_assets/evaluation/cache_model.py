"""A model that answers from a :class:`~ft_assets.evaluation.cache.ResultCache` what it can.

It takes the place of lm-eval's model in lm-eval's own ``evaluate``. Requests that are not known go
to the model longest first, and what it answers is kept as soon as it is there (lm-eval calls its
"cache hook" with each answer), so that an evaluation that is killed goes on where it was.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ft_assets.data.canonical import canonical_bytes
from ft_assets.evaluation.scores import RowScore, TurnScore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ft_assets.evaluation.cache import ResultCache
    from ft_assets.evaluation.scoring import ChatModel

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
"""How long an answer may wait in memory before it is kept: what a kill costs at most."""

# Requests that the model gets in one call. lm-eval looks for the largest batch that fits with every
# call, and vLLM keeps its batch full within a call, so calls are large where answers come out of
# the running call, and smaller where they come at its end.
_AT_ONCE = {
    "loglikelihood": 4096,
    "loglikelihood_rolling": 256,
    "generate_until": 1024,
    "score_chat": 256,
}
_SAMPLED_AT_ONCE = 256
_PLACE = ("row", "id")  # of a held-out row's score: where the row stands, not what it says
_OWN = frozenset(
    {"task_versions", "seed", "hits", "asked", "_lm", "_cache", "_extra", "_at_once", "_flush"}
)


@dataclass(slots=True)
class _Asked:
    """A request and its place among all of the call."""

    place: int
    key: str
    request: Any
    sampled: bool


class CachedModel:
    """Wraps lm-eval's model; everything but the requests goes through to it.

    Args:
        lm: The model.
        cache: Its answers so far.
        seed: Of answers that are drawn (``do_sample``): each seed has its own.
        extra: Per kind of request and task, what changes their answers alone (another backend).
        at_once: Requests that the model gets in one call; None leaves the default of each kind.
        flush_seconds: How long an answer may wait before it is kept.
    """

    task_versions: Mapping[str, str]
    """Task -> version; a task that is not in it has the version ``""``."""
    seed: int
    hits: int
    """Requests answered from the cache so far."""
    asked: int
    """Requests that the model answered so far."""

    def __init__(
        self,
        lm: ChatModel,
        cache: ResultCache,
        *,
        seed: int,
        extra: Callable[[str, str], Mapping[str, Any]] | None = None,
        at_once: int | None = None,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._lm: Any = lm
        self._cache = cache
        self._extra = extra
        self._at_once = at_once
        self._flush = flush_seconds
        self.task_versions = {}
        self.seed = seed
        self.hits = 0
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:  # not there yet: in __init__, or in a copy
            raise AttributeError(name)
        return getattr(self._lm, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._lm, name, value)

    def loglikelihood(self, requests: Sequence[Any], **options: Any) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether it is the greedy one."""
        answers = self._answer("loglikelihood", requests, options)
        return [(float(nats), bool(greedy)) for nats, greedy in answers]

    def loglikelihood_rolling(self, requests: Sequence[Any], **options: Any) -> list[float]:
        """Log-likelihood of each text."""
        return [float(nats) for nats in self._answer("loglikelihood_rolling", requests, options)]

    def generate_until(self, requests: Sequence[Any], **options: Any) -> list[str]:
        """What the model says to each prompt."""
        return self._answer("generate_until", requests, options)

    def score_chat(self, requests: Sequence[Any]) -> list[RowScore]:
        """Score held-out rows; rows with the same content have the same score."""
        answers = self._answer("score_chat", requests, {})
        return [
            _row_score(answer, request) for answer, request in zip(answers, requests, strict=True)
        ]

    def _answer(self, kind: str, requests: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """Answers in the order of the requests, as JSON values."""
        asked = self._named(kind, requests)
        known = self._cache.get_many(item.key for item in asked)
        hits = sum(item.key in known for item in asked)
        self.hits += hits
        if hits:
            _log.info("%s: %d of %d requests are known", kind, hits, len(asked))
            self._report(kind, hits)
        first: dict[str, _Asked] = {}
        for item in asked:
            if item.key not in known:
                first.setdefault(item.key, item)
        for part in self._parts(kind, list(first.values())):
            known.update(self._ask(kind, part, options))
        self._report(kind, len(asked) - hits - len(first))  # rows that stand there twice
        return [known[item.key] for item in asked]

    def _named(self, kind: str, requests: Sequence[Any]) -> list[_Asked]:
        """Each request with its key. A text that is drawn several times has a key for each draw."""
        draws: Counter[str] = Counter()
        asked: list[_Asked] = []
        for place, request in enumerate(requests):
            arguments = _arguments(kind, request)
            sampled = kind == "generate_until" and bool(arguments[1].get("do_sample", False))
            task = str(request.task_name)
            version = self.task_versions.get(task, "")
            extra = dict(self._extra(kind, task)) if self._extra is not None else {}
            if sampled:
                plain = self._cache.key(version, kind, arguments, extra)
                extra |= {"seed": self.seed, "draw": draws[plain]}
                draws[plain] += 1
            key = self._cache.key(version, kind, arguments, extra)
            asked.append(_Asked(place, key, request, sampled))
        return asked

    def _parts(self, kind: str, asked: list[_Asked]) -> Iterator[list[_Asked]]:
        """What the model is asked in one call: longest first, as lm-eval does within a call.

        So a lack of memory shows at once. Requests with the same text in front stay together, for
        lm-eval answers them from one forward pass where it can. Drawn answers are apart.
        """
        if kind != "score_chat":
            asked.sort(
                key=lambda a: (a.sampled, -len(a.request.args[0]), a.request.args[0], a.place)
            )
        for sampled in (False, True):
            group = [item for item in asked if item.sampled is sampled]
            count = self._at_once or (_SAMPLED_AT_ONCE if sampled else _AT_ONCE[kind])
            for start in range(0, len(group), count):
                yield group[start : start + count]

    def _ask(self, kind: str, part: list[_Asked], options: Mapping[str, Any]) -> dict[str, Any]:
        """Let the model answer; everything that it said is kept, even when it fails in between."""
        from lm_eval.api.model import CacheHook

        keeper = _Keeper(self._cache, kind, part, self._flush)
        if part[0].sampled:
            self._seed(part)
        else:
            self._lm.set_cache_hook(keeper)
        try:
            answers = getattr(self._lm, kind)([item.request for item in part], **options)
            said = {item.key: _as_json(answer) for item, answer in zip(part, answers, strict=True)}
            keeper.keep(said)
        finally:
            keeper.flush()
            self._lm.set_cache_hook(CacheHook(None))
        self.asked += len(part)
        return said

    def _seed(self, part: list[_Asked]) -> None:
        """Make draws follow from seed and requests: after a kill they are the same as without."""
        import torch

        torch.manual_seed(int(part[0].key[:15], 16) ^ self.seed)

    def _report(self, kind: str, count: int) -> None:
        if kind == "score_chat" and count and self._lm.on_scored is not None:
            self._lm.on_scored(count)


class _Keeper:
    """Keeps answers as they come: what lm-eval calls a cache hook."""

    def __init__(
        self, cache: ResultCache, kind: str, part: Sequence[_Asked], flush_seconds: float
    ) -> None:
        self._cache = cache
        self._kind = kind
        self._keys = {_text(item.request.args): item.key for item in part if kind != "score_chat"}
        self._told: set[str] = set()
        self._waiting: dict[str, Any] = {}
        self._seconds = flush_seconds
        self._flushed = time.monotonic()

    def add_partial(self, attr: str, req: Iterable[Any], res: Any) -> None:
        """Told of one answer by lm-eval, in the order in which the model gives them."""
        key = self._keys.pop(_text(req), None) if attr == self._kind else None
        if key is not None:
            self._told.add(key)
            self._waiting[key] = _as_json(res)
        if time.monotonic() - self._flushed >= self._seconds:
            self.flush()

    def keep(self, answers: Mapping[str, Any]) -> None:
        """Keep those answers of a whole call that were not told as they came."""
        self._waiting |= {key: answers[key] for key in answers if key not in self._told}

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._cache.put_many(self._waiting.items())
        self._waiting = {}
        self._flushed = time.monotonic()


def _arguments(kind: str, request: Any) -> list[Any]:
    """What makes the request what it is, as JSON: of a held-out row its content, not its place."""
    if kind == "score_chat":
        _, rows, number = request.args
        return [canonical_bytes(rows[number].content).decode()]
    return list(request.args)


def _text(arguments: Iterable[Any]) -> str:
    return json.dumps(list(arguments), sort_keys=True)


def _as_json(answer: Any) -> Any:
    """An answer as a JSON value; a row's score without what it says about the row's place."""
    if isinstance(answer, RowScore):
        fields = asdict(answer)
        return {name: fields[name] for name in fields if name not in _PLACE}
    return list(answer) if isinstance(answer, tuple) else answer


def _row_score(value: Mapping[str, Any], request: Any) -> RowScore:
    _, rows, number = request.args
    row = rows[number]
    fields: dict[str, Any] = dict(value)
    fields["turns"] = tuple(TurnScore(**turn) for turn in value["turns"])
    return RowScore(row=row.row, id=row.id, **fields)
