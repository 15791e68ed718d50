"""From task names to lm-eval tasks with their data, before any model is loaded.

Belongs here: finding a task, what can be wrong with it, and how the plan overrides it. The
held-out task is not looked up: it is made in :mod:`ft_assets.evaluation.held_out`.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ft_assets.data.redaction import excerpt
from ft_assets.evaluation.arguments import normal_gen_kwargs
from ft_assets.evaluation.preflight import (
    Missing,
    MissingDataError,
    TaskData,
    hub_problem,
    members,
    offline,
    refusal,
    task_data,
)
from resources.errors import UserError

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry
    from lm_eval.tasks.manager import TaskDict

    from ft_assets.evaluation.plan import EvaluationPlan

Index = Mapping[str, "Entry"]


@dataclass(frozen=True)
class BuiltTask:
    """One entry of the plan's tasks: a task, or a group or tag of several."""

    name: str
    loaded: TaskDict
    """What ``lm_eval.evaluator.evaluate`` takes."""
    documents: int
    """Documents that each model will be asked, over all its tasks, limit included."""

    @property
    def leaves(self) -> Mapping[str, Task]:
        """The single tasks by name."""
        return self.loaded["tasks"]


def build_tasks(plan: EvaluationPlan) -> list[BuiltTask]:
    """Find the plan's tasks, load their data and apply the plan's generation arguments.

    Raises:
        UserError: an unknown task, a task that cannot be built or may not run, or generation
            arguments that no task would use.
    """
    if not plan.tasks:
        return []
    manager = _manager(plan.tasks, plan.include_path)
    needed = [data for name in plan.tasks for data in task_data(manager.task_index, name)]
    problem = hub_problem() if any(data.on_hub for data in needed) else None
    built: list[BuiltTask] = []
    missing: list[Missing] = []
    with offline(problem is not None):
        for name in plan.tasks:
            try:
                task = _build(manager, name, plan)
            except MissingDataError as error:
                missing += error.missing
            else:
                _refuse_twice(task, built)
                built.append(task)
    if missing:
        raise UserError(refusal(missing, problem))
    _apply_gen_kwargs(built, plan.gen_kwargs)
    return built


def _manager(names: Sequence[str], include_path: str | None) -> TaskManager:
    """The index of known tasks; lm-eval's own, which takes seconds to read, only when needed."""
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        if not Path(include_path).is_dir():
            raise UserError(f"include_path {include_path}: there is no such folder")
        manager = TaskManager(include_path=include_path, include_defaults=False)
        if not list(_missing(manager.task_index, names)):
            return manager
        _refuse_broken_files(Path(include_path))
    manager = TaskManager(include_path=include_path, include_defaults=True)
    unknown = [name for name in names if name not in manager.task_index]
    if unknown:
        raise UserError(unknown_tasks(unknown, manager.all_tasks, include_path))
    return manager


def unknown_tasks(unknown: Sequence[str], known: Sequence[str], include_path: str | None) -> str:
    """The message about task names that neither lm-eval nor the user's folder knows."""
    parts: list[str] = []
    for name in unknown:
        close = difflib.get_close_matches(name, known, n=3)
        shown = ", ".join(repr(match) for match in close)
        parts.append(f"unknown task {name!r}" + (f" (close: {shown})" if close else ""))
    where = f"in include_path {include_path}" if include_path else "by include_path, which is unset"
    return f"{'; '.join(parts)}: name a task of lm-eval or one defined {where}"


def _missing(index: Index, names: Sequence[str]) -> Iterator[str]:
    """Names, of members of groups too, that the index does not have."""
    for name in names:
        entry = index.get(name)
        if entry is None:
            yield name
        else:
            yield from _missing(index, members(entry))


def _refuse_broken_files(folder: Path) -> None:
    """lm-eval leaves out task files that it cannot read; here they are an error."""
    import yaml
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in sorted(folder.rglob("*.yaml")):
        try:
            load_yaml(path, resolve_func=False)
        except (yaml.YAMLError, OSError, ValueError) as error:
            raise UserError(f"task file {path} cannot be read: {error}") from error


def _build(manager: TaskManager, name: str, plan: EvaluationPlan) -> BuiltTask:
    data = task_data(manager.task_index, name)
    try:
        loaded = manager.load([name])
    except _data_errors() as error:
        raise MissingDataError(_which(manager, name, data, error)) from error
    except (ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        if _is_absent(error):
            raise MissingDataError(_which(manager, name, data, error)) from error
        raise UserError(
            f"task {name!r} ({_named(data)}) cannot be built: {_brief(error)}: correct its "
            "definition or leave it out"
        ) from error
    for leaf, task in loaded["tasks"].items():
        _check(leaf, task)
    counts = [len(task.eval_docs) for task in loaded["tasks"].values()]
    return BuiltTask(name, loaded, sum(min(n, plan.documents or n) for n in counts))


def _which(
    manager: TaskManager, name: str, data: Sequence[TaskData], error: Exception
) -> list[Missing]:
    """Which members of a group lack their data; a task that is none is its own member."""
    missing: list[Missing] = []
    for leaf in data if len(data) > 1 else ():
        try:
            manager.load([leaf.task])
        except (ValueError, *_data_errors()) as its_own:
            if isinstance(its_own, _data_errors()) or _is_absent(its_own):
                missing.append(Missing(leaf, _brief(its_own)))
    return missing or [Missing(replace(data[0], task=name), _brief(error))]


def _data_errors() -> tuple[type[Exception], ...]:
    import httpx
    from datasets.exceptions import DatasetsError

    return OSError, httpx.HTTPError, DatasetsError


def _is_absent(error: Exception) -> bool:
    """Whether datasets has no copy of a configuration, and only others of the same dataset."""
    return isinstance(error, ValueError) and str(error).startswith("Couldn't find cache for ")


def _named(data: Sequence[TaskData]) -> str:
    return f"dataset {', '.join(sorted({str(item) for item in data}))}"


def _check(name: str, task: Task) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(f"task {name!r} runs code that the model writes: it is not supported")
    if getattr(task, "MULTIMODAL", False):
        raise UserError(f"task {name!r} needs images or sound: only text is supported")
    if not len(task.eval_docs):
        raise UserError(f"task {name!r} has no documents to evaluate")


def _refuse_twice(task: BuiltTask, others: Sequence[BuiltTask]) -> None:
    for other in others:
        both = sorted(task.leaves.keys() & other.leaves.keys())
        if both:
            raise UserError(
                f"task {both[0]!r} is in both {other.name!r} and {task.name!r}: remove one of them"
            )


def _apply_gen_kwargs(built: Sequence[BuiltTask], gen_kwargs: Mapping[str, Any]) -> None:
    if not gen_kwargs:
        return
    generating = [
        task
        for entry in built
        for task in entry.leaves.values()
        if task.get_config("output_type") == "generate_until"
    ]
    if not generating:
        names = ", ".join(entry.name for entry in built)
        raise UserError(f"gen_kwargs has no effect: none of {names} generates text; remove it")
    for task in generating:
        task.set_config("generation_kwargs", normal_gen_kwargs(gen_kwargs), update=True)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {excerpt(str(error), 200)}"
