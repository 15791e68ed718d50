"""What a model card must not leave unsaid: what was not measured, not known or not whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.cards.markdown import bullets, number, text
from ft_assets.cards.results import CANDIDATE, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary


def limits(
    model: Mapping[str, Any],
    summary: EvaluationSummary | None,
    split: Mapping[str, Any] | None,
    *,
    license_known: bool,
    languages_known: bool,
) -> str:
    """A list; never empty.

    Args:
        model: metadata of the manifest of ``finetuned_model``.
        summary: the evaluation's.
        split: metadata of the manifest of ``split_dataset``.
        license_known: whether the card names a licence.
        languages_known: whether the card names languages.
    """
    lines = [*_of_the_evaluation(summary), *_of_the_training(model), *_of_the_data(split)]
    if not license_known:
        lines.append(
            "The licence is not known: that of the base model and of the data may bind the user."
        )
    if not languages_known:
        lines.append("The languages of the training data were not determined.")
    lines.append(
        "Truthfulness, bias, safety and resistance to misuse were not measured, unless a task in "
        "the table above does so. The model can say what is wrong or harmful."
    )
    return bullets(lines)


def _of_the_evaluation(summary: EvaluationSummary | None) -> Iterator[str]:
    if summary is None:
        yield "Nothing was measured: there is no evaluation of this model."
        return
    if summary.partial:
        yield "The results are partial: a limit was set, so that they are of some documents alone."
    if summary.not_finite:
        named = ", ".join(text(name) for name in summary.not_finite)
        yield f"Not a number, and left out of the results: {named}."
    candidate = summary.models[CANDIDATE]
    if not candidate.tasks:
        yield "No benchmark was run: general abilities, and whether any was lost, are not measured."
    if CHAMPION not in summary.models:
        yield "Compared with its base model alone, with no earlier version of this model."
    if candidate.held_out is None:
        yield "Nothing was held out: how it does on data like the training's is not measured."
    else:
        yield from _of_the_held_out(candidate.held_out)


def _of_the_held_out(held_out: HeldOutSummary) -> Iterator[str]:
    if held_out.truncated:
        yield f"{number(held_out.truncated)} held-out rows were too long and were scored in part."
    if held_out.skipped:
        why = ", ".join(
            f"{text(reason)} ({number(count)})"
            for reason, count in sorted(held_out.skip_reasons.items())
        )
        yield f"{number(held_out.skipped)} held-out rows could not be scored: {why}."
    if held_out.left_out_rows:
        yield (
            f"{number(held_out.left_out_rows)} held-out rows were left out, because a model of the "
            "comparison was trained on them."
        )
    if not held_out.generated:
        yield "No answers were generated: how the model's own text reads is not measured."
    elif held_out.generated < held_out.rows:
        yield (
            f"Answers were generated for {number(held_out.generated)} of the "
            f"{number(held_out.rows)} held-out rows."
        )


def _of_the_training(model: Mapping[str, Any]) -> Iterator[str]:
    outcome: Mapping[str, Any] = model["outcome"]
    for count, what in {
        "rows_too_long": "training rows were longer than the sequence length and left out",
        "rows_untrained": "training rows held nothing to train on and were left out",
        "rows_cut": "texts were cut at the sequence length",
    }.items():
        if outcome[count]:
            yield f"{number(outcome[count])} {what}."
    for finding in model.get("health", []):
        said = finding.get("message") or finding.get("reason") or finding
        yield f"While training: {text(said)}"
    yield "The energy that the training took was not measured, unless it is named below."


def _of_the_data(split: Mapping[str, Any] | None) -> Iterator[str]:
    if split is None:
        yield "What it was trained on is not recorded here."
        return
    report: Mapping[str, Any] = split["report"]
    if not report["near_duplicates"]:
        yield "Near duplicates between training and held-out rows were not looked for."
    if split.get("contamination") is None:
        yield "Training rows were not compared with the questions of the evaluations."
