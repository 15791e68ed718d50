"""``report.html``: an evaluation as one file that a person opens, and needs nothing else for.

Belongs here: what stands in the report and in which order. Does not belong here: what the scores
mean (``ft_assets.court``), and the pieces of HTML (``report_parts``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ft_assets.evaluation.comparison import SideBySide, worst
from ft_assets.evaluation.report_parts import fold, heading, items, page, paragraph, shown, table
from ft_assets.evaluation.report_rows import (
    CANDIDATE,
    COMPARED,
    NAMES,
    differences,
    higher_is_better,
    result_rows,
    sampled_tasks,
)
from ft_assets.forest import forest_chart, number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ft_assets.evaluation.report_rows import ComparisonLike
    from ft_assets.evaluation.summary import EvaluationSummary

SAMPLES_SHOWN = 120
"""Documents in the whole report; each task has its share, and one at least."""
_PER_TASK = 20
_TEXT = 1200  # characters of each text
_SHORT = 12  # characters of a digest or of a document's id


class VerdictLike(Protocol):
    """What the report shows of a verdict: ``ft_assets.court.Verdict``."""

    @property
    def passed(self) -> bool:
        """Whether the candidate may be registered."""
        ...

    @property
    def reason(self) -> str:
        """The decision in one sentence."""
        ...

    @property
    def reasons(self) -> Sequence[str]:
        """Each reason in one sentence."""
        ...

    @property
    def comparisons(self) -> Sequence[ComparisonLike]:
        """What was compared."""
        ...


def report_html(
    summary: EvaluationSummary, samples: Path, verdict: VerdictLike | None, *, title: str
) -> str:
    """The report as one HTML document.

    Args:
        summary: the results.
        samples: the folder with the samples of all models.
        verdict: what the court says; None where nothing is judged (a base model alone).
        title: what was evaluated, for people.
    """
    comparisons = verdict.comparisons if verdict is not None else ()
    rows = result_rows(summary, comparisons)
    lines = differences(summary, rows, comparisons)
    body = [heading(title, 1), paragraph(_about(summary), "faint")]
    if verdict is not None:
        body += [_verdict(verdict), *_reasons(verdict)]
    body += [
        heading("Results"),
        table(
            [{name: _text(value) for name, value in row.items()} for row in rows],
            numbers=(*NAMES.values(), "difference"),
        ),
    ]
    if verdict is not None:
        body += [
            heading("Differences"),
            paragraph(
                "One line per comparison, with its interval. Each line has a scale of its own; "
                "to the right of zero the candidate is better.",
                "faint",
            ),
            f'<div class="wide">{forest_chart(lines, title="")}</div>',
            *_samples(summary, samples),
        ]
    return page(title, [*body, *_facts(summary)])


def worst_regressions(
    summary: EvaluationSummary, samples: Path, count: int, *, per_task: int = _PER_TASK
) -> list[SideBySide]:
    """The documents on which the candidate lost most, of every task in turn.

    Scores of different tasks have no common unit, so the worst of each task come first, then the
    second of each, and so on. Only documents on which the candidate did worse are given.
    """
    tasks = [
        [row for row in _worst_of(summary, samples, task, per_task) if row.worse_by > 0]
        for task in sampled_tasks(summary)
    ]
    turns = (task[place] for place in range(per_task) for task in tasks if place < len(task))
    return [row for row, _ in zip(turns, range(count), strict=False)]


def texts_of(row: SideBySide, limit: int) -> dict[str, str]:
    """The texts of a document by what they are, as they may be shown."""
    samples = row.samples
    first = samples.get(CANDIDATE) or next(iter(samples.values()))
    return {
        "prompt": shown(first.prompt, limit),
        "reference": shown(first.reference, limit),
        **{
            NAMES[model]: shown(samples[model].answer, limit) for model in NAMES if model in samples
        },
    }


def _about(summary: EvaluationSummary) -> str:
    models = [NAMES.get(name, name) for name in summary.models]
    partial = "; PARTIAL: a limit was set" if summary.partial else ""
    return f"Models: {', '.join(models)}{partial}"


def _verdict(verdict: VerdictLike) -> str:
    said = verdict.reason[:1].upper() + verdict.reason[1:]
    return paragraph(said, f"verdict {'good' if verdict.passed else 'bad'}")


def _reasons(verdict: VerdictLike) -> list[str]:
    return [heading("Reasons"), items(verdict.reasons)] if verdict.reasons else []


def _samples(summary: EvaluationSummary, samples: Path) -> list[str]:
    tasks = sampled_tasks(summary)
    if not tasks:
        return []
    share = max(1, min(_PER_TASK, SAMPLES_SHOWN // len(tasks)))
    parts = [
        heading("Samples side by side"),
        paragraph(
            "The worst regressions of each task first. Secrets and addresses are masked.", "faint"
        ),
    ]
    for task in tasks:
        rows = _worst_of(summary, samples, task, share)
        parts.append(heading(task, 3))
        if not rows:
            parts.append(paragraph("No document was scored for both models.", "faint"))
        parts += [_sample(row, opened=place == 0) for place, row in enumerate(rows)]
    return parts


def _worst_of(summary: EvaluationSummary, samples: Path, task: str, count: int) -> list[SideBySide]:
    other = next((model for model in COMPARED if model in summary.models), None)
    if other is None:
        return []
    return worst(
        samples,
        task,
        models=list(summary.models),
        candidate=CANDIDATE,
        other=other,
        higher_is_better=higher_is_better(summary, task),
        count=count,
    )


def _sample(row: SideBySide, *, opened: bool) -> str:
    change = "worse" if row.worse_by > 0 else "better" if row.worse_by < 0 else "the same"
    by = f" by {number(abs(row.worse_by))}" if row.worse_by else ""
    summary = (
        f"{change}{by}: {row.metric} {number(row.other)} → {number(row.candidate)} "
        f"({row.id[:_SHORT]})"
    )
    return fold(summary, texts_of(row, _TEXT), opened=opened)


def _facts(summary: EvaluationSummary) -> list[str]:
    """What the numbers were made with."""
    models = [
        {
            "model": NAMES.get(name, name),
            "digest": summary.model_digests.get(name, "")[:_SHORT],
            "ran on": ", ".join(sorted(set(summary.backends.get(name, {}).values()))),
            "seconds": number(summary.seconds.get(name)),
        }
        for name in summary.models
    ]
    tasks = [
        {
            "task": task,
            "documents": str(summary.documents.get(task, "")),
            "version": summary.task_versions.get(task, ""),
        }
        for task in sampled_tasks(summary)
    ]
    held_out = summary.models[CANDIDATE].held_out if CANDIDATE in summary.models else None
    notes = [f"{name} {version}" for name, version in summary.versions.items()]
    if held_out is not None and held_out.left_out_rows:
        notes.append(
            f"{held_out.left_out_rows} held-out rows were not asked: the champion was trained on "
            "them"
        )
    if summary.not_finite:
        notes.append(f"not finite: {', '.join(summary.not_finite)}")
    return [
        heading("How it was measured"),
        table(models, numbers=("seconds",)),
        table(tasks, numbers=("documents",)),
        items(notes),
    ]


def _text(value: str | float | None) -> str:
    return value if isinstance(value, str) else number(value)
