"""What the UI shows of an evaluation: from its manifest alone, so that a reused one is the same.

Belongs here: the page. Does not belong here: what goes into the manifest (``eval_report``,
``baseline_report``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ft_assets.evaluation.comparison import SideBySide
from ft_assets.evaluation.report_html import VerdictLike, texts_of
from ft_assets.evaluation.report_rows import (
    BASE,
    CANDIDATE,
    CHAMPION,
    Cell,
    Row,
    differences,
    result_rows,
)
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.forest import forest_markdown, number
from ft_assets.lineage import SHORT, table
from resources.store import Artifact

REPORT_FILE = "report.html"
CHART_FILE = "differences.svg"
WORST_SHOWN = 10
_TEXT = 160  # characters of each text in the table
_LARGE = 1000  # from here on (perplexities) more than one decimal says nothing
_HELD_OUT_NUMBERS = ("loss", "perplexity", "token_accuracy", "exact_match", "rouge_l", "chrf")


def comparison_page(
    artifact: Artifact, summary: EvaluationSummary, verdict: VerdictLike, regressions: list[Row]
) -> dict[str, Any]:
    """Metadata of a materialization of ``eval_report``."""
    rows = result_rows(summary, verdict.comparisons)
    lines = differences(summary, rows, verdict.comparisons)
    page: dict[str, Any] = {
        "verdict": verdict.reason,
        "differences": dg.MetadataValue.md(forest_markdown(lines, "differences")),
        "results": table(narrow(rows)),
        "report": dg.PathMetadataValue(f"{artifact.uri}/{REPORT_FILE}"),
        "differences_chart": dg.PathMetadataValue(f"{artifact.uri}/{CHART_FILE}"),
        **plotted(summary),
    }
    if regressions:
        page["worst_regressions"] = table(regressions)
    return page


def narrow(rows: Sequence[Row]) -> list[Row]:
    """The rows as they fit into a window; the report has them whole.

    Whom the candidate is compared with is left out where it is the base model throughout.
    """
    against = {row.get("against") for row in rows}
    dropped = {"against"} if against == {BASE} else set[str]()
    return [
        {name: _short(name, cell) for name, cell in row.items() if name not in dropped}
        for row in rows
    ]


def _short(name: str, cell: Cell) -> Cell:
    if isinstance(cell, float):
        return round(cell, 4 if abs(cell) < _LARGE else 1)
    return cell.partition(":")[0] if name == "verdict" and isinstance(cell, str) else cell


def baseline_page(artifact: Artifact, summary: EvaluationSummary) -> dict[str, Any]:
    """Metadata of a materialization of ``baseline_report``."""
    return {
        "results": table(result_rows(summary)),
        "report": dg.PathMetadataValue(f"{artifact.uri}/{REPORT_FILE}"),
        **plotted(summary),
    }


def regression_rows(documents: Sequence[SideBySide]) -> list[Row]:
    """The worst documents as they are kept in the manifest: excerpts, without secrets."""
    return [
        {
            "task": document.task,
            "document": document.id[:SHORT],
            "metric": document.metric,
            "before": number(document.other),
            "after": number(document.candidate),
            **{name: " ".join(text.split()) for name, text in texts_of(document, _TEXT).items()},
        }
        for document in documents
    ]


def plotted(summary: EvaluationSummary) -> dict[str, float]:
    """Numbers that the UI draws over partitions and over time.

    The candidate's have the plain names; those of the other models begin with the model's name.
    """
    values: dict[str, float | None] = {}
    prefixes = {CANDIDATE: "", CHAMPION: "champion_", BASE: "base_"}
    for model, prefix in prefixes.items():
        scores = summary.models.get(model)
        if scores is None:
            continue
        held_out = scores.held_out
        if held_out is not None:
            values |= {f"{prefix}held_out_{n}": getattr(held_out, n) for n in _HELD_OUT_NUMBERS}
        if model == CANDIDATE:
            values |= {
                f"{task}_{name}": value
                for task, metrics in scores.tasks.items()
                for name, value in metrics.items()
                if not name.partition(",")[0].endswith("_stderr")
            }
    return {name: round(float(value), 6) for name, value in values.items() if value is not None}
