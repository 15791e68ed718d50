"""The work of ``split_dataset``: its rows divided, decontaminated and looked at again.

Belongs here: the calls of ``ft_assets.data`` with the pipeline's parameters. Does not belong here:
the asset (``split_dataset.py``), which imports this only where it runs, and what its page shows
(``split_page.py``).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ft_assets.data.contamination import CONTAMINATED_FILE, ContaminationReport, decontaminate
from ft_assets.data.held_out_overlap import HeldOutDocuments, write_held_out_documents
from ft_assets.data.leak import LeakReport, find_leak
from ft_assets.data.split import split
from ft_assets.data.split_report import (
    HELD_OUT_FILE,
    TRAIN_FILE,
    SplitReport,
    after_contamination,
)
from ft_assets.evaluation.documents_worker import DocumentsPlan

if TYPE_CHECKING:
    from ft_assets.assets.drops_up_to import Drops
    from ft_assets.assets.step import Step
    from resources.home import Home
    from resources.launcher.process import ProcessLauncher
    from resources.store import Draft


def split_rows(this: Step, drops: Drops, folder: Path) -> SplitReport:
    """Divide the rows of the drops into the two sides, as ``dataset`` says."""
    config = this.spec.dataset
    report = split(
        drops.rows,
        folder,
        ratio=config.split,
        seed=config.seed,
        subset=config.subset,
        near_duplicates=config.near_duplicates,
        duplicates=config.duplicates,
        near_in_training=config.near_duplicates_in_training,
        grouped=config.group_by is not None,
        stratified=config.stratify_by is not None,
        eval_rows=drops.eval_rows or None,
    )
    return report.model_copy(update={"drops": drops.counts})


@dataclass(frozen=True)
class Compared:
    """What the training side was compared with, and what was found."""

    report: ContaminationReport
    held_out: HeldOutDocuments | None


def decontaminate_rows(
    this: Step, draft: Draft, home: Home, launcher: ProcessLauncher, held_out_rows: int
) -> Compared | None:
    """Leave out training rows that hold a held-out row or a question of the evaluation's tasks.

    When rows are found and that is to fail, the folder with the list of them stays.
    """
    config = this.spec.dataset
    tasks = this.spec.evaluation.tasks
    if config.on_contamination == "ignore" or not (tasks or held_out_rows):
        return None
    folder = home.runs / f"{this.run_folder_prefix}-contamination"
    folder.mkdir(parents=True, exist_ok=True)
    documents = [_task_documents(this, folder, launcher)] if tasks else []
    whole = folder / "held_out_documents.jsonl" if held_out_rows else None
    with this.working():
        held_out = (
            write_held_out_documents(draft.path / HELD_OUT_FILE, whole, rows=held_out_rows)
            if whole
            else None
        )
        report = decontaminate(
            draft.path / TRAIN_FILE,
            documents,
            folder / TRAIN_FILE,
            held_out=whole,
            threshold=config.contamination,
            on_contamination=config.on_contamination,
        )
    (draft.path / TRAIN_FILE).unlink()
    for name in (TRAIN_FILE, CONTAMINATED_FILE):
        draft.take(folder / name, name)
    shutil.rmtree(folder)
    return Compared(report, held_out)


def _task_documents(this: Step, folder: Path, launcher: ProcessLauncher) -> Path:
    """Have the documents of the evaluation's tasks written, in a process of its own."""
    documents = folder / "task_documents.jsonl"
    include = this.include_folder
    plan = DocumentsPlan(
        tasks=this.spec.evaluation.tasks,
        include_path=str(include) if include else None,
        output=str(documents),
    )
    this.run_worker(launcher, "ft_assets.evaluation.documents_worker", plan, folder / "plan.json")
    return documents


def after(report: SplitReport, folder: Path, found: Compared) -> SplitReport:
    """The split's report after contaminated rows were left out."""
    report = after_contamination(
        report,
        folder / TRAIN_FILE,
        folder / HELD_OUT_FILE,
        rows=found.report.kept_rows,
    )
    warning = found.held_out.warning() if found.held_out else None
    if warning is None:
        return report
    return report.model_copy(update={"warnings": [*report.warnings, warning]})


def leak(this: Step, folder: Path, report: SplitReport) -> LeakReport:
    """Look again at what was written: whether the sides have rows in common."""
    return find_leak(
        folder / TRAIN_FILE,
        folder / HELD_OUT_FILE,
        near_duplicates=this.spec.dataset.near_duplicates,
        rows=report.train_rows,
    )
