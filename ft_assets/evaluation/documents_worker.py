"""Lists what evaluations ask: ``python -m ft_assets.evaluation.documents_worker FOLDER/plan.json``.

For steps that compare training rows with the documents of lm-eval's tasks: lm-eval and ``datasets``
stay out of the step's own process.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field

from ft_assets.evaluation.noise import keep_local, silence_before_import, silence_libraries
from ft_assets.evaluation.task_documents import write_task_documents
from resources.launcher.child import Reporter, leave, run_worker
from resources.record import Record


class DocumentsPlan(Record):
    """Whose documents, and where to."""

    tasks: list[str] = Field(min_length=1)
    """lm-eval tasks, groups or tags."""
    include_path: str | None = None
    """Folder with task YAML files of one's own; they win over lm-eval's."""
    output: str
    """The file to write."""


def work(plan_file: Path, report: Reporter) -> None:
    """Carry out the plan."""
    plan = DocumentsPlan.model_validate_json(plan_file.read_text())
    silence_before_import()
    silence_libraries()
    keep_local()

    def written(task: str, documents: int) -> None:
        report("task documents", documents, 0, task=task)

    write_task_documents(plan.tasks, plan.include_path, Path(plan.output), written)


if __name__ == "__main__":
    leave(run_worker(work, sys.argv[1:]))
