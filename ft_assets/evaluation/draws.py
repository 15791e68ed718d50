"""Few-shot examples and seeds: what in a task is drawn, and setting it.

Not lm-eval's ``simple_evaluate``: that one ignores a number of examples for a task that sets 0,
and may show a question among its own examples.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lm_eval.api.task import Task

    from ft_assets.evaluation.tasks import BuiltTask


def set_examples(built: Iterable[BuiltTask], num_fewshot: int | None) -> None:
    """Give every task its number of examples: the plan's, or else its own.

    Raises:
        UserError: a task cannot have that many examples.
    """
    for entry in built:
        for name, task in entry.leaves.items():
            if num_fewshot is not None:
                _check_examples(name, task, num_fewshot)
                task.set_config("num_fewshot", num_fewshot)
            elif task.get_config("num_fewshot") is None:
                task.set_config("num_fewshot", 0)
            _never_the_question_itself(task)


def depends_on_seed(task: Task) -> bool:
    """Whether another seed can give other results: other examples, or other words."""
    from lm_eval.api.samplers import FirstNSampler

    sampler = getattr(task, "sampler", None)
    drawn = bool(task.get_config("num_fewshot")) and not isinstance(sampler, FirstNSampler)
    generation: dict[str, Any] = task.get_config("generation_kwargs") or {}
    sampled = generation.get("do_sample")
    if sampled is None:
        sampled = float(generation.get("temperature") or 0) > 0
    return drawn or (task.get_config("output_type") == "generate_until" and bool(sampled))


def set_seed(tasks: Iterable[Task], seed: int) -> None:
    """Start all draws anew, so that every model meets the same ones."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for task in tasks:
        task.set_fewshot_seed(seed)


def _check_examples(name: str, task: Any, wanted: int) -> None:
    if not wanted:
        return
    if task.get_config("num_fewshot") == 0:
        raise UserError(
            f"num_fewshot {wanted}: task {name!r} is defined without examples (num_fewshot: 0): "
            "leave num_fewshot empty or leave the task out"
        )
    sampler = getattr(task, "sampler", None)
    if sampler is None or task.get_config("output_type") == "loglikelihood_rolling":
        raise UserError(
            f"num_fewshot {wanted}: task {name!r} takes no examples: leave num_fewshot empty or "
            "leave the task out"
        )
    there = len(sampler.df)
    if there <= wanted:  # one more, for the question itself may be among them
        raise UserError(
            f"num_fewshot {wanted}: task {name!r} has {there} examples to draw from, one of which "
            f"may be the question itself: set at most {max(there - 1, 0)}"
        )


def _never_the_question_itself(task: Any) -> None:
    """lm-eval falls back on the test documents for examples, and then forgets to leave out the one
    that is asked, unless the split of examples is said to be the test split."""
    config = getattr(task, "fewshot_cfg", None)
    if config is None or config.split is not None or config.samples is not None:
        return
    if not task.has_training_docs() and not task.has_validation_docs():
        config.split = task.get_config("test_split")
