"""An evaluation in a folder, as the worker leaves it, made from chosen scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ft_assets.config.promotion import PromotionConfig
from ft_assets.court import Verdict
from ft_assets.court.judge import judge
from ft_assets.evaluation.samples import Sample, samples_name, write_samples
from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary, ModelSummary

ROWS = 60
TOKENS = [5 + (7 * row) % 40 for row in range(ROWS)]
"""Per held-out row."""
QUESTIONS = 400


def losses(per_token: float) -> list[Sample]:
    """Held-out samples with a loss that differs from row to row, about ``per_token``."""
    return [
        Sample(
            id=f"row-{row}",
            ratios={
                "loss": (tokens * (per_token + 0.1 * ((row * 13) % 7 - 3)), float(tokens)),
                "token_accuracy": (float(tokens // 2), float(tokens)),
            },
        )
        for row, tokens in enumerate(TOKENS)
    ]


def answers(right: Sequence[bool]) -> list[Sample]:
    """Samples of a task whose answers are right or wrong."""
    return [Sample(id=f"{place}", metrics={"acc": float(good)}) for place, good in enumerate(right)]


def share(right: int, of: int = QUESTIONS) -> list[Sample]:
    """The first ``right`` answers are right."""
    return answers([place < right for place in range(of)])


@dataclass(frozen=True)
class Evaluation:
    """Samples per model and task; the folder is written when it is judged."""

    folder: Path
    samples: Mapping[str, Mapping[str, list[Sample]]]
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the summary."""

    def but(self, model: str, **tasks: list[Sample]) -> Evaluation:
        """The same with other samples of one model."""
        changed = {**self.samples, model: {**self.samples.get(model, {}), **tasks}}
        return replace(self, samples=changed)

    def without(self, model: str) -> Evaluation:
        kept = {name: tasks for name, tasks in self.samples.items() if name != model}
        return replace(self, samples=kept)

    def with_summary(self, **changes: Any) -> Evaluation:
        return replace(self, changes={**self.changes, **changes})

    def swapped(self, one: str = "tuned", other: str = "base") -> Evaluation:
        """The same with two models in each other's place."""
        changed = {**self.samples, one: self.samples[other], other: self.samples[one]}
        return replace(self, samples=changed)

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(t for tasks in self.samples.values() for t in tasks))

    @property
    def summary(self) -> EvaluationSummary:
        values: dict[str, Any] = {
            "models": {name: _model(tasks) for name, tasks in self.samples.items()},
            "higher_is_better": {task: {"acc": True} for task in self.tasks if task != "held_out"},
            "partial": False,
            "task_versions": dict.fromkeys(self.tasks, "1"),
            "documents": {
                task: max(len(tasks.get(task, [])) for tasks in self.samples.values())
                for task in self.tasks
            },
            "backends": {name: dict.fromkeys(tasks, "hf") for name, tasks in self.samples.items()},
        }
        return EvaluationSummary(**{**values, **self.changes})

    def write(self) -> Path:
        for model, tasks in self.samples.items():
            (self.folder / model).mkdir(parents=True, exist_ok=True)
            for task, samples in tasks.items():
                write_samples(self.folder / model / samples_name(task), samples)
        return self.folder

    def judged(self, *, champion_expected: bool | None = None, **promotion: Any) -> Verdict:
        """The verdict, by default with a champion expected where there is one."""
        settings = {"bootstrap_draws": 1000, **promotion}
        return judge(
            self.summary,
            self.write(),
            PromotionConfig(**settings),
            tasks=[task for task in self.tasks if task != "held_out"],
            champion_expected=(
                "champion" in self.samples if champion_expected is None else champion_expected
            ),
        )


def _model(tasks: Mapping[str, list[Sample]]) -> ModelSummary:
    rows = tasks.get("held_out")
    return ModelSummary(
        held_out=_held_out(len(rows)) if rows is not None else None,
        tasks={task: {"acc": 0.5} for task in tasks if task != "held_out"},
    )


def _held_out(rows: int) -> HeldOutSummary:
    return HeldOutSummary(
        loss=1.0,
        loss_stderr=0.1,
        perplexity=2.0,
        perplexity_stderr=0.1,
        token_accuracy=0.5,
        token_accuracy_stderr=0.1,
        rows=rows,
        tokens=sum(TOKENS),
        truncated=0,
        skipped=0,
    )


@pytest.fixture
def first(tmp_path: Path) -> Evaluation:
    """The first version of a model: clearly better than its base, and nothing forgotten."""
    tasks = {"arc": share(200)}
    better = [
        sample.model_copy(update={"ratios": {**sample.ratios, "loss": _gained(sample, place)}})
        for place, sample in enumerate(losses(2.0))
    ]
    return Evaluation(
        tmp_path / "samples",
        {"base": {"held_out": losses(2.0), **tasks}, "tuned": {"held_out": better, **tasks}},
    )


@pytest.fixture
def second(first: Evaluation) -> Evaluation:
    """The second version: better than the base and than the champion."""
    champion = [
        sample.model_copy(update={"ratios": {**sample.ratios, "loss": _gained(sample, place, 0.2)}})
        for place, sample in enumerate(losses(2.0))
    ]
    return first.but("champion", held_out=champion, arc=share(200))


def _gained(sample: Sample, place: int, gain: float = 0.5) -> tuple[float, float]:
    nats, tokens = sample.ratios["loss"]
    return nats - tokens * (gain + 0.05 * (place % 5 - 2)), tokens
