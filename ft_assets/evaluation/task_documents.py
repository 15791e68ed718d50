"""The documents that an evaluation will ask a model, as text: what training rows may not repeat.

Belongs here: from lm-eval tasks to lines of :class:`~ft_assets.data.task_overlap.TaskDocument`.
Does not belong here: comparing them with rows (:mod:`ft_assets.data.contamination`).
"""

# lm-eval is typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ft_assets.data.line_files import writing
from ft_assets.data.redaction import excerpt
from ft_assets.data.task_overlap import TaskDocument
from ft_assets.evaluation.plan import EvaluationPlan, ModelUnderTest
from ft_assets.evaluation.tasks import build_tasks
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lm_eval.api.task import Task

_LABEL = re.compile(r"\(?([A-Za-z]|[0-9]{1,2})\)?")
_OPTION = re.compile(r"\s*\(?([A-Za-z]|[0-9]{1,2})[.):]\)?\s+(\S.*)")


def write_task_documents(
    names: Sequence[str],
    include_path: str | None,
    path: Path,
    said: Callable[[str, int], None] | None = None,
) -> int:
    """Write the documents of all tasks to ``path``, task by task, and return their number.

    Groups and tags stand for their members. The split is the one that lm-eval evaluates: test,
    else validation. One document is in memory at a time, beside what lm-eval itself loads: it
    maps a dataset from disk, but a task with ``process_docs`` or few-shot examples may hold more.

    Args:
        names: tasks, groups or tags.
        include_path: folder of task files of one's own, or None.
        path: the file to write; it appears when it is complete.
        said: told after each task its name and the documents written so far.

    Raises:
        UserError: a task that is unknown or cannot be loaded (with the remedy), or a document
            that its own task cannot render.
    """
    with writing(path) as file:
        for task in build_tasks(_plan(names, include_path)):
            for leaf in sorted(task.leaves):
                for document in task_documents(leaf, task.leaves[leaf]):
                    file.write(document.line())
                if said is not None:
                    said(leaf, file.rows)
        return file.rows


def _plan(names: Sequence[str], include_path: str | None) -> EvaluationPlan:
    """The evaluation whose tasks are loaded; no model takes part."""
    nobody = ModelUnderTest(name="none", path="")
    return EvaluationPlan(
        models=[nobody], tasks=list(names), include_path=include_path, output_dir=""
    )


def task_documents(name: str, task: Task) -> Iterator[TaskDocument]:
    """The documents of one task; ``doc_id`` counts from 0, as in lm-eval's samples."""
    for number, doc in enumerate(task.eval_docs):
        try:
            yield _document(name, number, task, doc)
        except UserError:
            raise
        except Exception as error:  # templates and functions of the task's author: anything
            raise UserError(
                f"task {name!r}, document {number}: its task file cannot render it "
                f"({type(error).__name__}: {excerpt(str(error), 200)}): correct the task or leave "
                "it out"
            ) from error


def _document(name: str, number: int, task: Any, doc: Any) -> TaskDocument:
    """One document as text: what is asked, what would be right, and what is there to choose."""
    text, target = task.doc_to_text(doc), task.doc_to_target(doc)
    choices = [str(choice) for choice in _choices(task, doc)]
    if isinstance(text, int | list) and not isinstance(text, bool):
        # Choices that are contexts before one ending (winogrande): the right context is the text.
        question, answers = _chosen(text, choices)[0] if choices else str(text), [str(target)]
    else:
        question, answers = str(text), _chosen(target, choices)
    if not question.strip():
        # Text whose likelihood is measured (wikitext) is all target.
        question, answers = answers[0] if answers else "", []
    choices, answers = _spelled_out(question, choices, answers)
    return TaskDocument(
        task=name, doc_id=number, question=question, answers=answers, choices=choices
    )


def _choices(task: Any, doc: Any) -> Sequence[Any]:
    has_choices = task.get_config("doc_to_choice") is not None
    return task.doc_to_choice(doc) if has_choices else ()


def _chosen(target: Any, choices: Sequence[str]) -> list[str]:
    """The texts of what is right: targets are texts, numbers of choices, or lists of either."""
    several = target if isinstance(target, list | tuple) else [target]
    return [
        choices[one] if isinstance(one, int) and -1 < one < len(choices) else str(one)
        for one in several
    ]


def _spelled_out(
    question: str, choices: list[str], answers: list[str]
) -> tuple[list[str], list[str]]:
    """Choices and answers in words, where the task has letters and the question lists the rest.

    MMLU's choices are A, B, C and D, and its questions end with lines such as ``B. Mars``.
    """
    labels = [match[1] if (match := _LABEL.fullmatch(c.strip())) else None for c in choices]
    if not choices or None in labels:
        return choices, answers
    options = {match[1]: match[2] for match in map(_OPTION.match, question.splitlines()) if match}
    if not options.keys() >= set(labels):
        return choices, answers
    in_words = {
        choice: options[label] for choice, label in zip(choices, labels, strict=True) if label
    }
    return list(in_words.values()), [in_words.get(answer, answer) for answer in answers]
