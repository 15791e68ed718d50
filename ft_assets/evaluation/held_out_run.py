"""One model on the held-out rows: the likelihood of every turn, answers to some, and samples.

Only the worker imports this at work.
"""

# lm-eval is typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from ft_assets.evaluation.answer_scores import score_answer
from ft_assets.evaluation.generation import held_out_answers
from ft_assets.evaluation.generation_rows import question
from ft_assets.evaluation.held_out import held_out_task, row_scores
from ft_assets.evaluation.plan import HELD_OUT
from ft_assets.evaluation.samples import Sample
from ft_assets.evaluation.scores import AnswerScore
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lm_eval.api.model import LM

    from ft_assets.evaluation.held_out import HeldOutRows
    from ft_assets.evaluation.plan import EvaluationPlan
    from ft_assets.evaluation.scores import RowScore
    from ft_assets.evaluation.scoring import ChatModel


def score_held_out(
    lm: ChatModel, model: str, rows: HeldOutRows, plan: EvaluationPlan
) -> list[RowScore]:
    """The likelihood of every assistant turn, row by row.

    Raises:
        UserError: no row could be scored.
    """
    from lm_eval.evaluator import evaluate

    task = held_out_task(rows)
    tasks: Any = {"tasks": {HELD_OUT: task}}
    evaluate(cast("LM", lm), tasks, limit=plan.documents, log_samples=False, bootstrap_iters=0)
    scores = row_scores(task)
    if all(score.skipped is not None for score in scores):
        raise UserError(
            f"model {model}: no row of {rows.path} could be scored ({scores[0].skipped}): "
            "split the conversations into shorter ones, or take a model of a longer context"
        )
    return scores


def answer_held_out(
    lm: ChatModel, rows: HeldOutRows, numbers: Sequence[int], plan: EvaluationPlan
) -> list[AnswerScore]:
    """The model's answers to the chosen rows beside their references."""
    scores: list[AnswerScore] = []
    for answer in held_out_answers(lm, rows, numbers, plan.max_new_tokens):
        metrics = {} if answer.text is None else asdict(score_answer(answer.text, answer.reference))
        scores.append(
            AnswerScore(
                row=rows[answer.number].row,
                metrics=metrics,
                answer=answer.text,
                reference=answer.reference,
                skipped=answer.skipped,
            )
        )
    return scores


def held_out_samples(
    rows: HeldOutRows,
    scores: Sequence[RowScore],
    answers: Sequence[AnswerScore],
    *,
    texts: bool,
) -> Iterator[Sample]:
    """One sample per row, in the order of the rows. A row that stands there twice has two ids."""
    answered: Mapping[int, AnswerScore] = {answer.row: answer for answer in answers}
    seen: Counter[str] = Counter()
    for number, score in enumerate(scores):
        row = rows[number]
        answer = answered.get(score.row)
        seen[row.key] += 1
        asked = question(row.content) if texts else None
        yield Sample(
            id=row.key if seen[row.key] == 1 else f"{row.key}#{seen[row.key]}",
            metrics={} if answer is None else dict(answer.metrics),
            ratios={}
            if score.skipped is not None
            else {
                "loss": (score.nll, score.tokens),
                "token_accuracy": (score.correct, score.tokens),
            },
            skipped=score.skipped,
            prompt=None if asked is None else asked.shown,
            reference=None if asked is None else asked.reference,
            answer=answer.answer if texts and answer is not None else None,
        )
