"""The same document as several models answered it, side by side, and the worst of them.

Pure functions over files of samples, one document at a time. Does not belong here: whether a
difference means anything (``ft_assets.court``), and how a row is shown (``report_html``).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ft_assets.evaluation.samples import Sample, read_samples, samples_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

HELD_OUT_SCORES = {
    "loss": False,
    "perplexity": False,
    "token_accuracy": True,
    "exact_match": True,
    "rouge_l": True,
    "chrf": True,
}
"""Scores of the held-out task, and whether higher is better."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """One document and the sample of each model."""

    id: str
    samples: Mapping[str, Sample]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One document of which the candidate's score and the other's differ, or could."""

    task: str
    id: str
    metric: str
    """The score that changed most for the worse."""
    other: float
    candidate: float
    worse_by: float
    """How much worse the candidate is, in the score's unit; below 0 where it is better."""
    samples: Mapping[str, Sample]
    """Of each model that was asked this document."""


def task_files(samples: Path, models: Sequence[str], task: str) -> dict[str, Path]:
    """The files of samples that models left for a task, by model; those that have none left out."""
    files = {model: samples / model / samples_name(task) for model in models}
    return {model: file for model, file in files.items() if file.is_file()}


def aligned(files: Mapping[str, Path]) -> Iterator[Aligned]:
    """The documents that every model has a sample of, as the first model comes to them.

    Files that hold the same documents in the same order, as evaluations write them, are read in
    step and in constant memory. Where one lacks a document, what the others have of it waits, as
    many samples as the files are apart.

    Args:
        files: of each model, its samples of one task.

    Raises:
        UserError: a file is missing or damaged.
    """
    readers = {model: read_samples(file) for model, file in files.items()}
    waiting: dict[str, dict[str, list[Sample]]] = {}
    while readers:
        step: dict[str, Sample] = {}
        for model in list(readers):
            sample = next(readers[model], None)
            if sample is None:
                del readers[model]
            else:
                step[model] = sample
        if not waiting and len(step) == len(files) and len({s.id for s in step.values()}) == 1:
            yield Aligned(next(iter(step.values())).id, step)
            continue
        for model, sample in step.items():
            waiting.setdefault(sample.id, {}).setdefault(model, []).append(sample)
        for sample in step.values():
            yield from _complete(sample.id, waiting, len(files))


def _complete(
    name: str, waiting: dict[str, dict[str, list[Sample]]], models: int
) -> Iterator[Aligned]:
    there = waiting.get(name, {})
    if len(there) < models:
        return
    yield Aligned(name, {model: samples.pop(0) for model, samples in there.items()})
    left = {model: samples for model, samples in there.items() if samples}
    if left:
        waiting[name] = left
    else:
        del waiting[name]


def worst(
    samples: Path,
    task: str,
    *,
    models: Sequence[str],
    candidate: str,
    other: str,
    higher_is_better: Mapping[str, bool | None],
    count: int,
) -> list[SideBySide]:
    """The documents of a task on which the candidate lost most against the other, worst first.

    Documents that one of the two skipped, or scored with no finite number, are left out. Only
    ``count`` of them are kept in memory.

    Args:
        samples: the folder with the samples of all models.
        task: name of the task.
        models: all models to show.
        candidate: the model that is judged.
        other: the model that it is compared with.
        higher_is_better: per score; what is not named is better when higher.
        count: how many documents at most.
    """
    files = task_files(samples, models, task)
    if candidate not in files or other not in files:
        return []
    heap: list[tuple[float, int, SideBySide]] = []
    for place, document in enumerate(aligned(files)):
        row = side_by_side(task, document, candidate, other, higher_is_better)
        if row is None:
            continue
        entry = (row.worse_by, -place, row)
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return [row for _, _, row in sorted(heap, key=lambda entry: (-entry[0], -entry[1]))]


def side_by_side(
    task: str,
    document: Aligned,
    candidate: str,
    other: str,
    higher_is_better: Mapping[str, bool | None],
) -> SideBySide | None:
    """One document with the score that changed most for the worse; None where nothing compares.

    A loss, where there is one, goes before all other scores: it tells documents apart on which
    answers are right or wrong alike.
    """
    mine, theirs = document.samples[candidate], document.samples[other]
    if mine.skipped is not None or theirs.skipped is not None:
        return None
    found: list[tuple[float, str, float, float]] = []
    scores = _scores(mine)
    for metric, before in _scores(theirs).items():
        after = scores.get(metric)
        if after is None:
            continue
        higher = better_when_higher(metric, higher_is_better)
        found.append((before - after if higher else after - before, metric, before, after))
    if not found:
        return None
    loss = next((entry for entry in found if entry[1] == "loss"), None)
    worse_by, metric, before, after = loss or max(found, key=lambda entry: entry[0])
    return SideBySide(task, document.id, metric, before, after, worse_by, document.samples)


def better_when_higher(metric: str, higher_is_better: Mapping[str, bool | None]) -> bool:
    """Whether more of a score is better; its name may end in lm-eval's filter (``,strict``)."""
    name = metric.partition(",")[0]
    for known in (metric, name):
        said = higher_is_better.get(known)
        if said is not None:
            return said
    return HELD_OUT_SCORES.get(name, True)


def _scores(sample: Sample) -> dict[str, float]:
    """The finite scores of a document."""
    ratios = {
        name: top / bottom
        for name, (top, bottom) in sample.ratios.items()
        if top is not None and bottom
    }
    scores = {**ratios, **sample.metrics}
    return {
        name: value for name, value in scores.items() if value is not None and math.isfinite(value)
    }
