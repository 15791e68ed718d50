"""What the checks of the split say about what was looked at, and about what was not."""

import dagster as dg

from ft_assets.checks.split_checks import no_contamination
from ft_assets.data.contamination import ContaminationReport, TaskContamination

KEY = ["p", "split_dataset"]


def report(*tasks: str, rows: int = 100, found: int = 0, kept: int | None = None, **more: int):
    counts = {"documents": 40, "documents_unsearchable": 0, "rows_unchecked": 0, **more}
    return ContaminationReport(
        rows=rows,
        contaminated_rows=found,
        kept_rows=rows - found if kept is None else kept,
        question_and_answer=found,
        question_only=0,
        tasks={task: TaskContamination(documents=40, documents_found=0, rows=0) for task in tasks},
        threshold=0.7,
        on_contamination="drop",
        examples=[],
        **counts,
    )


def test_it_passes_when_all_was_compared_and_nothing_stayed():
    result = no_contamination(KEY, report("held_out", "arc_easy", found=3))
    assert result.passed
    assert result.description == (
        "3 of 100 training rows hold a question of arc_easy or a held-out row (40 documents); "
        "they were dropped"
    )


def test_rows_that_stayed_are_a_warning():
    result = no_contamination(KEY, report("held_out", found=3, kept=100))
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.description == "3 of 100 training rows hold a held-out row (40 documents)"


def test_rows_that_were_never_compared_do_not_pass():
    result = no_contamination(KEY, report("arc_easy", rows_unchecked=60))
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "60 rows of token ids were NOT compared" in (result.description or "")
    assert result.metadata["rows_unchecked"].value == 60


def test_documents_that_cannot_be_searched_for_are_named():
    result = no_contamination(KEY, report("arc_easy", documents_unsearchable=7))
    assert result.passed
    assert "7 of 40 documents are too short or too common" in (result.description or "")
    assert result.metadata["documents_unsearchable"].value == 7


def test_nothing_to_compare_with_is_said():
    result = no_contamination(KEY, None)
    assert result.passed
    assert "nothing was compared" in (result.description or "")
