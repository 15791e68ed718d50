"""What an eval report compares, and whether an earlier report says it already.

Belongs here: the candidate's opponents and the digests that tell two reports apart. Does not belong
here: evaluating, judging and publishing, which ``eval_report.py`` does with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ft_assets.assets.champion import Champion, opponent
from ft_assets.assets.earlier import known_versions
from ft_assets.assets.evaluating import measured
from ft_assets.assets.step import Step
from ft_assets.evaluation.report_rows import BASE, CANDIDATE, CHAMPION
from ft_assets.provenance.digest import value_digest
from ft_assets.training.plan import TrainPlan
from resources.registry import Registry
from resources.store import Artifact, ArtifactStore

CODE_VERSION = "2"
"""Of ``eval_report``'s own code, which the scores depend on."""


@dataclass(frozen=True)
class EvalJob:
    """What is compared, and whether an earlier report says it already."""

    split: Artifact
    model: Artifact
    champion: Champion | None
    measured: str
    """Digest of all that the scores depend on."""
    fingerprint: str
    """Digest of that and of the rules of promotion."""
    registered: bool
    """The candidate is registered, by the verdict of then."""

    @property
    def inputs(self) -> list[Artifact]:
        """The artifacts of this pipeline and drop that the report is made from."""
        return [self.split, self.model]

    def is_measured(self, report: Artifact) -> bool:
        """Whether the report has these scores."""
        return report.manifest.metadata.get("measured") == self.measured

    def is_done(self, report: Artifact) -> bool:
        """Whether the report has these scores, judged by these rules."""
        same = report.manifest.metadata.get("fingerprint") == self.fingerprint
        return same or (self.registered and self.is_measured(report))


def measured_before(this: Step, store: ArtifactStore, job: EvalJob) -> Artifact | None:
    """The newest report with these scores, whose files are all there."""
    return next(
        (
            report
            for report in known_versions(this, store)
            if job.is_measured(report) and not store.backend.missing_files(report.manifest)
        ),
        None,
    )


def eval_job(
    this: Step, store: ArtifactStore, split: Artifact, model: Artifact, registry: Registry
) -> EvalJob:
    """What is to be compared now: with the champion of today, or of when it was judged."""
    report = _report_about(this, store, model)
    recorded: Any = report.manifest.metadata.get("champion") if report is not None else None
    champion, registered = opponent(
        registry,
        this.spec.registry.name,
        model.data_version,
        judged=report is not None,
        before=Champion.model_validate(recorded) if recorded is not None else None,
    )
    scores = measured(
        this,
        split,
        {
            BASE: train_plan_of(model).base_model.digest,
            CHAMPION: champion.digest if champion is not None else None,
            CANDIDATE: model.data_version,
        },
        CODE_VERSION,
    )
    rules = this.spec.promotion.model_dump(mode="json")
    return EvalJob(split, model, champion, scores, value_digest([scores, rules]), registered)


def train_plan_of(model: Artifact) -> TrainPlan:
    """How the model was trained."""
    return TrainPlan.of_manifest(model.manifest.metadata)


def _report_about(this: Step, store: ArtifactStore, model: Artifact) -> Artifact | None:
    """The newest report about this very model: data that came back has one that is not current."""
    return next(
        (
            report
            for report in known_versions(this, store)
            if report.manifest.metadata.get("model_data_version") == model.data_version
        ),
        None,
    )
