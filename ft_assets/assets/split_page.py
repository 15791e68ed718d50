"""What the page of ``split_dataset`` shows: its numbers and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.assets.drops_up_to import SHOWN
from ft_assets.lineage import table

if TYPE_CHECKING:
    from ft_assets.data.contamination import ContaminationReport
    from ft_assets.data.split_report import SplitReport


def split_metadata(report: SplitReport, found: ContaminationReport | None) -> dict[str, Any]:
    """What the asset's page shows of a split."""
    metadata: dict[str, Any] = {
        "dagster/row_count": report.train_rows + report.held_out_rows,
        "train_rows": report.train_rows,
        "held_out_rows": report.held_out_rows,
        "training_share": report.ratio_actual,
        "rows_dropped": sum(report.dropped.values()),
        "dropped": table([{"reason": why, "rows": n} for why, n in report.dropped.items()]),
        "duplicates": report.duplicates,
        "near_clusters": report.near_clusters,
        "seed": report.seed,
    }
    if report.drops:
        metadata["drops"] = len(report.drops)
        metadata["rows_per_drop"] = table(
            [{"drop": one.drop, "rows": one.rows} for one in report.drops[-SHOWN:]]
        )
    if report.groups:
        metadata["groups"] = report.groups
    if report.strata:
        metadata["strata"] = table(
            [
                {
                    "stratum": stratum.name if stratum.name is not None else "all others",
                    "train": stratum.train_rows,
                    "held out": stratum.held_out_rows,
                }
                for stratum in report.strata
            ]
        )
    if found is not None:
        metadata["contaminated_rows"] = found.contaminated_rows
        metadata["contamination"] = table(
            [
                {
                    "task": task,
                    "documents": counts.documents,
                    "found in the rows": counts.documents_found,
                    "rows": counts.rows,
                }
                for task, counts in found.tasks.items()
            ]
        )
        if found.examples:
            metadata["contamination_examples"] = table(
                [
                    {
                        "row": pair.row_excerpt,
                        "question": pair.question_excerpt,
                        "task": pair.task,
                        "share": round(pair.containment, 3),
                    }
                    for pair in found.examples
                ]
            )
    return metadata
