"""The checks of the split: nothing leaks, nothing is contaminated, there are enough rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.data.split_report import HELD_OUT_TASK, SplitReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ft_assets.data.contamination import ContaminationReport
    from ft_assets.data.leak import LeakReport

NO_LEAK = "no_leak"
NO_CONTAMINATION = "no_contamination"
ENOUGH_ROWS = "enough_rows"

FEW_HELD_OUT = 30
"""Held-out rows below which a loss says little: its standard error is then wide."""


def check_specs(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> list[dg.AssetCheckSpec]:
    """The checks as inline ones of ``split_dataset``; they block what is made of it."""
    descriptions = {
        NO_LEAK: "No training row equals or nearly equals a held-out row.",
        NO_CONTAMINATION: (
            "No training row holds a held-out row as a whole, or a question of the pipeline's own "
            "evaluation tasks."
        ),
        ENOUGH_ROWS: (
            "There are training rows for at least one optimizer step; warns of few held-out rows."
        ),
    }
    return [
        inline_check(name, asset_key, partitions, blocking=True, description=description)
        for name, description in descriptions.items()
    ]


def no_leak(asset_key: list[str], leak: LeakReport) -> dg.AssetCheckResult:
    """What the sides have in common, looked for in the files."""
    near = (
        f"{leak.near} of {leak.compared} compared nearly equal one"
        if leak.compared
        else "nearness was not looked for (dataset.near_duplicates: 0, or no held-out row)"
    )
    return _result(
        asset_key,
        NO_LEAK,
        passed=not leak.equal and not leak.near,
        said=f"{leak.equal} training rows equal a held-out row; {near}",
    )


def no_contamination(
    asset_key: list[str], found: ContaminationReport | None
) -> dg.AssetCheckResult:
    """Whether rows that hold a held-out row or a question of a task stayed in training.

    Rows that could not be looked at may hold one too: then it does not pass.
    """
    if found is None:
        return _result(
            asset_key,
            NO_CONTAMINATION,
            passed=True,
            said=(
                "nothing was compared: no evaluation task and no held-out row, or "
                "dataset.on_contamination: ignore"
            ),
        )
    left = found.contaminated_rows - (found.rows - found.kept_rows)
    dropped = "; they were dropped" if found.contaminated_rows and not left else ""
    said = [
        f"{found.contaminated_rows} of {found.rows} training rows hold {_documents(found)}{dropped}"
    ]
    if found.rows_unchecked:
        said.append(
            f"{found.rows_unchecked} rows of token ids were NOT compared with the questions of "
            "tasks"
        )
    if found.documents_unsearchable:
        said.append(
            f"{found.documents_unsearchable} of {found.documents} documents are too short or too "
            "common to be searched for"
        )
    return _result(
        asset_key,
        NO_CONTAMINATION,
        passed=not left and not found.rows_unchecked,
        said="; ".join(said),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "rows_unchecked": found.rows_unchecked,
            "documents": found.documents,
            "documents_unsearchable": found.documents_unsearchable,
        },
    )


def _documents(found: ContaminationReport) -> str:
    """What was looked for, such as ``a question of arc_easy or a held-out row (90 documents)``."""
    tasks = [task for task in found.tasks if task != HELD_OUT_TASK]
    kinds = [f"a question of {', '.join(tasks)}"] if tasks else []
    kinds += ["a held-out row"] if HELD_OUT_TASK in found.tasks else []
    return f"{' or '.join(kinds) or 'a document'} ({found.documents} documents)"


def enough_rows(
    asset_key: list[str], report: SplitReport, effective_batch_size: int
) -> dg.AssetCheckResult:
    """Whether there is one batch to train on, and enough to measure with."""
    if report.train_rows < effective_batch_size:
        return _result(
            asset_key,
            ENOUGH_ROWS,
            passed=False,
            said=(
                f"{report.train_rows} training rows are fewer than "
                f"training.effective_batch_size ({effective_batch_size}): bring more or lower it"
            ),
        )
    few = report.held_out_rows < FEW_HELD_OUT
    said = f"{report.train_rows} training rows, {report.held_out_rows} held out"
    return _result(
        asset_key,
        ENOUGH_ROWS,
        passed=not few,
        said=f"{said}: fewer than {FEW_HELD_OUT} say little about a model" if few else said,
        severity=dg.AssetCheckSeverity.WARN,
    )


def _result(
    asset_key: list[str],
    name: str,
    *,
    passed: bool,
    said: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    metadata: Mapping[str, int] | None = None,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=dg.AssetKey(asset_key),
        passed=passed,
        severity=severity,
        description=said,
        metadata=metadata or {},
    )
