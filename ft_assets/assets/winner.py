"""Whether a model may be registered: what the checks decide by, read again at the last moment.

A run of ``registered_version`` alone does not look at the checks of the assets before it. Belongs
here: what refuses a registration. Does not belong here: the court, which reached the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.assets.champion import is_registered
from ft_assets.checks import healthy_training
from ft_assets.court import Verdict
from ft_assets.evaluation.summary import EvaluationSummary
from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.config import PipelineSpec
    from resources.registry import RegisteredVersion, Registry
    from resources.store import Artifact


def won(model: Artifact, report: Artifact) -> Verdict:
    """The verdict by which the model may be registered.

    A run of this asset alone does not look at the checks, so what they decide by is read again.

    Raises:
        UserError: there is none for this model, or the model lost.
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
    verdict = Verdict.model_validate(metadata["verdict"])
    if not verdict.passed:
        raise UserError(f"not registered: {verdict.reason}")
    return verdict


def refuse_other_rules(verdict: Verdict, spec: PipelineSpec) -> None:
    """Refuse a verdict that was reached by other rules than those in force now.

    Not for a model that is registered already: its verdict is the one of then.

    Raises:
        UserError: naming the parameters that changed.
    """
    then = verdict.settings
    if then is None:
        raise UserError("not registered: the verdict names no rules: materialize eval_report again")
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
            "materialize eval_report again, which judges anew by what it has already measured"
        )


def refuse_another_champion(
    registry: Registry,
    model: Artifact,
    report: Artifact,
    verdict: Verdict,
    champion: RegisteredVersion | None,
) -> None:
    """Refuse a candidate that was never compared with the champion that it would replace.

    Another drop may have won since the evaluation. Content that is registered already replaces
    nobody, and a person who overruled the court knows what for.
    """
    if champion is None or verdict.overruled is not None:
        return
    metadata: Any = report.manifest.metadata
    compared = EvaluationSummary.model_validate(metadata["summary"]).model_digests.get("champion")
    if champion.artifact.digest != compared and not is_registered(
        registry, champion.model, model.data_version
    ):
        raise UserError(
            f"not registered: the champion is {champion.model} {champion.version} now, and the "
            "evaluation did not compare the candidate with it: materialize eval_report again"
        )
