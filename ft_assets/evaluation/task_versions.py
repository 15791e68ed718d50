"""What a task is: a text that changes when results of it can no longer be compared.

In it: lm-eval's version of the task, its definition (templates, metrics, filters, generation
arguments, number of examples, with the source of functions), the examples to draw from, the seeds
where it depends on them, and every document that is asked. Not in it: paths and the names of
datasets, for the documents themselves are.
"""

# lm-eval is typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import textwrap
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from ft_assets.evaluation.draws import depends_on_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lm_eval.api.task import Task

    from ft_assets.evaluation.held_out import HeldOutRows
    from ft_assets.evaluation.plan import EvaluationPlan

SCORING_VERSION = "2"
"""Of how held-out rows are scored and answered: raise it when a number can come out otherwise."""

_DIGEST = 16
# Where documents come from, and what is for people and lm-eval's index.
_LEFT_OUT = frozenset(
    {
        "custom_dataset",
        "dataset_kwargs",
        "dataset_name",
        "dataset_path",
        "metadata",
        "tag",
        "task",
        "task_alias",
    }
)


def task_version(task: Task, plan: EvaluationPlan) -> str:
    """lm-eval's version of a task, and a digest of all that its results depend on."""
    config: Any = task.config
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    definition = {name: _plain(value) for name, value in fields.items() if name not in _LEFT_OUT}
    sampler = getattr(task, "sampler", None)
    examples = sampler.df if sampler is not None and task.get_config("num_fewshot") else ()
    digest = _digest(
        {
            "definition": definition,
            "class": _source(type(task)) if type(task).__name__ != "ConfigurableTask" else None,
            "seeds": plan.all_seeds if depends_on_seed(task) else None,
            "examples": _documents(examples),
            "documents": _documents(islice(task.eval_docs, plan.documents)),
        }
    )
    return f"{task.VERSION}:{digest}"


def held_out_version(rows: HeldOutRows, plan: EvaluationPlan) -> str:
    """Our scoring's version, and a digest of the rows and of how answers are generated."""
    generation = (
        [plan.held_out_generations, plan.max_new_tokens] if plan.held_out_generations else None
    )
    digest = _digest({"rows": rows.digest(plan.documents), "generation": generation})
    return f"{SCORING_VERSION}:{digest}"


def _documents(documents: Iterable[Any]) -> str:
    hashed = hashlib.sha256()
    for document in documents:
        hashed.update(json.dumps(_plain(document), sort_keys=True).encode() + b"\n")
    return hashed.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGEST]


def _plain(value: Any) -> Any:
    """JSON of a value, whatever it is, without the addresses of objects."""
    made: Any
    if value is None or isinstance(value, str | int | float | bool):
        made = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    elif isinstance(value, dict):
        given = cast("Mapping[Any, Any]", value)
        made = {str(key): _plain(item) for key, item in given.items()}
    elif isinstance(value, list | tuple):
        made = [_plain(item) for item in cast("list[Any]", value)]
    elif isinstance(value, set | frozenset):
        made = sorted(json.dumps(_plain(item)) for item in cast("set[Any]", value))
    elif callable(value):
        made = _source(value)
    else:
        made = repr(value) if type(value).__repr__ is not object.__repr__ else _source(type(value))
    return made


def _source(value: Any) -> str:
    """The source of a function or class; its name where there is none."""
    if isinstance(value, functools.partial):
        given = [_plain(value.args), _plain(value.keywords)]
        return f"{_source(value.func)} {json.dumps(given, sort_keys=True)}"
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (TypeError, OSError):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
