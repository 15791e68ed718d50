"""lm-eval's Hugging Face model as it is used here: it scores chats, and is quiet."""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from ft_assets.evaluation.generation import generate
from ft_assets.evaluation.lazy_weights import lazy_lm
from ft_assets.evaluation.plan import HELD_OUT
from ft_assets.evaluation.scoring import ChatModel, score_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ft_assets.evaluation.scores import RowScore


@functools.cache
def chat_scoring_lm() -> Callable[..., ChatModel]:
    """lm-eval's Hugging Face model with the request type ``score_chat`` and without its noise."""

    class ChatScoringLM(lazy_lm()):
        """Made by :func:`ft_assets.evaluation.models.load`."""

        quiet = True
        chat_batch = "auto"
        on_scored = None

        def score_chat(self, requests: Sequence[Any]) -> list[RowScore]:
            """Score held-out rows; the answers are in the order of the requests."""
            self.read_weights()
            rows = [request.args[1:] for request in requests]
            return score_rows(self, rows)

        def loglikelihood(
            self, requests: list[Any], disable_tqdm: bool = False
        ) -> list[tuple[float, bool]]:
            self.read_weights()
            return super().loglikelihood(requests, disable_tqdm or self.quiet)

        def loglikelihood_rolling(
            self, requests: list[Any], disable_tqdm: bool = False
        ) -> list[float]:
            self.read_weights()
            return super().loglikelihood_rolling(requests, disable_tqdm or self.quiet)

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            """The held-out questions are answered in their own way, all others in lm-eval's."""
            self.read_weights()
            own = [request for request in requests if request.task_name == HELD_OUT]
            others = [request for request in requests if request.task_name != HELD_OUT]
            mine = iter(generate(cast("ChatModel", self), own))
            rest = iter(
                super().generate_until(others, disable_tqdm or self.quiet) if others else []
            )
            return [next(mine if r.task_name == HELD_OUT else rest) for r in requests]

        def _loglikelihood_tokens(
            self,
            requests: Any,
            disable_tqdm: bool = False,
            override_bs: int | None = None,
        ) -> list[tuple[float, bool]]:
            return super()._loglikelihood_tokens(requests, disable_tqdm or self.quiet, override_bs)

    return ChatScoringLM
