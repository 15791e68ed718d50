"""One model of one evaluation: what the court reads of it.

Belongs here: where a model's numbers and samples are, and whether they are all there. Does not
belong here: comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ft_assets.court.pairing import Refused, Scores, read_scores
from ft_assets.evaluation.samples import samples_name
from ft_assets.evaluation.summary import EvaluationSummary


@dataclass(frozen=True)
class Side:
    """One model of one evaluation."""

    summary: EvaluationSummary
    samples: Path
    """The folder with a folder of samples per model."""
    model: str
    """Its name in the evaluation: ``base``, ``tuned`` or ``champion``."""
    called: str
    """What sentences call it: ``the base model``."""

    @property
    def present(self) -> bool:
        """Whether the evaluation has this model at all."""
        return self.model in self.summary.models

    def file(self, task: str) -> Path:
        """Its samples of one task."""
        return self.samples / self.model / samples_name(task)

    def parts(self, task: str) -> list[str]:
        """The tasks with samples that a name stands for: itself, or those of the group or tag.

        Raises:
            Refused: nothing was kept under this name, and nobody says which tasks it stands for.
        """
        parts = self.summary.leaves.get(task)
        if parts:
            return parts
        if self.file(task).is_file():
            return [task]
        raise Refused(
            f"there are no samples of {task} for {self.called}, nor a list of the tasks that it "
            "stands for, which older evaluations lack: materialize eval_report again with force"
        )

    def scores(self, task: str) -> Scores:
        """All that it scored in a task.

        Raises:
            Refused: samples are missing, or are not of all documents.
            UserError: a file of samples cannot be read.
        """
        parts = self.parts(task)
        for part in parts:
            if not self.file(part).is_file():
                raise Refused(f"there are no samples of {part} for {self.called}: evaluate again")
        scores = read_scores((part, self.file(part)) for part in parts)
        asked = [self.summary.documents.get(part) for part in parts]
        expected = sum(number or 0 for number in asked)
        if None not in asked and len(scores) != expected:
            raise Refused(
                f"{task} has samples of {len(scores)} documents for {self.called}, but "
                f"{expected} were asked: evaluate again"
            )
        return scores


def refuse_other_version(candidate: Side, other: Side, task: str) -> None:
    """Refuse to compare answers to different questions, or answers of different engines.

    Raises:
        Refused: the two were not evaluated alike.
    """
    for part in candidate.parts(task):
        mine, theirs = (side.summary.task_versions.get(part) for side in (candidate, other))
        apart = candidate.summary is not other.summary
        if mine != theirs or (apart and mine is None):
            raise Refused(
                f"{part} was asked in another version for {other.called} ({theirs or 'unknown'}) "
                f"than for the candidate ({mine or 'unknown'}): evaluate both with the same task, "
                "documents and settings"
            )
        engines = [
            side.summary.backends.get(side.model, {}).get(part) for side in (candidate, other)
        ]
        if engines[0] != engines[1]:
            raise Refused(
                f"{part} was run by {engines[0] or 'an unknown engine'} for the candidate and by "
                f"{engines[1] or 'an unknown engine'} for {other.called}, which round differently: "
                "set evaluation.backend and evaluate again"
            )
