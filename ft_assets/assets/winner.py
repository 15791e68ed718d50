"""Whether a model may be registered: what the checks decide by, read again at the last moment.

A run of ``registered_version`` alone does not look at the checks of the assets before it. Belongs
here: what refuses a registration. Does not belong here: the court, which reached the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.assets.eval_job import CODE_VERSION
from ft_assets.assets.evaluating import measured
from ft_assets.cards.sources import input_of
from ft_assets.checks import healthy_training
from ft_assets.court import Verdict
from ft_assets.evaluation.report_rows import BASE, CANDIDATE, CHAMPION
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.assets.step import Step
    from ft_assets.config import PipelineSpec
    from resources.store import Artifact, ArtifactStore

_AGAIN = "materialize eval_report again"


def verdict_on(model: Artifact, report: Artifact) -> Verdict:
    """The verdict on the model, whatever it says.

    A run of this asset alone does not look at the checks, so what they decide by is read again.

    Raises:
        UserError: there is none for this model, or its training was not healthy.
    """
    metadata: Any = report.manifest.metadata
    if metadata["model_data_version"] != model.data_version:
        raise UserError(
            "the evaluation report is about another model than the current one: materialize "
            "eval_report first"
        )
    unhealthy = healthy_training.error_of(model.manifest.metadata)
    if unhealthy is not None:
        raise UserError(f"not registered: the training was not healthy: {unhealthy}")
    return Verdict.model_validate(metadata["verdict"])


def refuse_loser(verdict: Verdict) -> None:
    """Refuse a model that the court is against, and that nobody overruled it for.

    Raises:
        UserError: with the court's reason.
    """
    if not verdict.passed:
        raise UserError(f"not registered: {verdict.reason}")


def refuse_other_rules(verdict: Verdict, spec: PipelineSpec) -> None:
    """Refuse a verdict that was reached by other rules than those in force now.

    Not for a model that is registered already: its verdict is the one of then.

    Raises:
        UserError: naming the parameters that changed.
    """
    then = verdict.settings
    if then is None:
        raise UserError(f"not registered: the verdict names no rules: {_AGAIN}")
    changed = [
        f"promotion.{name}"
        for name in type(spec.promotion).model_fields
        # Who overrules says so for one run, which need not be this one.
        if name != "overrule" and getattr(then.promotion, name) != getattr(spec.promotion, name)
    ]
    if then.tasks != spec.evaluation.tasks:
        changed.append("evaluation.tasks")
    if changed:
        raise UserError(
            f"not registered: {', '.join(changed)} changed since the verdict was reached: "
            f"{_AGAIN}, which judges anew by what it has already measured"
        )


def refuse_other_measures(
    this: Step, store: ArtifactStore, model: Artifact, report: Artifact
) -> None:
    """Refuse scores that were measured by another evaluation block or by other tasks than now.

    Whatever the report measured is reckoned anew: the same models, on the same held-out rows, by
    what the pipeline says now. Not for a model that is registered already.

    Raises:
        UserError: something has changed, or the held-out rows are no longer kept.
    """
    split = input_of(store, report, "split_dataset")
    if split is None:
        raise UserError(
            f"not registered: the split that the report was made from is not kept: {_AGAIN}"
        )
    metadata: Any = report.manifest.metadata
    digests = EvaluationSummary.model_validate(metadata["summary"]).model_digests
    models = {
        BASE: TrainPlan.of_manifest(model.manifest.metadata).base_model.digest,
        CHAMPION: digests.get(CHAMPION),
        CANDIDATE: model.data_version,
    }
    if measured(this, split, models, CODE_VERSION) != metadata.get("measured"):
        raise UserError(
            "not registered: the evaluation block, the pipeline's own tasks or the code that "
            f"evaluates changed since the report was made: {_AGAIN}"
        )
