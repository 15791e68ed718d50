"""The court's verdict in words, as it stands in the evaluation's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.cards.markdown import bullets, number, table, text

if TYPE_CHECKING:
    from collections.abc import Mapping


def verdict_text(verdict: Mapping[str, Any] | None) -> str:
    """Whether the model was promoted, and why; a verdict of an earlier release has one reason."""
    if verdict is None:
        return "No verdict: nobody has compared this model with its base model."
    decided = "Passed" if verdict["passed"] else "Not passed"
    parts = [f"**{decided}**: {text(verdict['reason'])}"]
    reasons = [reason for reason in verdict.get("reasons", []) if reason != verdict["reason"]]
    if reasons:
        parts.append(bullets(text(reason) for reason in reasons))
    if verdict.get("overruled"):
        parts.append(_overruled(verdict["overruled"]))
    if verdict.get("comparisons"):
        parts.append(_comparisons(verdict["comparisons"]))
    return "\n\n".join(parts)


def _overruled(overruled: Any) -> str:
    said: Mapping[str, Any] = overruled
    facts = ", ".join(f"{text(name)}: {text(value)}" for name, value in sorted(said.items()))
    return f"**A person has overruled the court**: {facts}."


def _comparisons(comparisons: list[Any]) -> str:
    heads = ("task", "metric", "against", "other", "this model", "difference", "interval", "p")
    rows = [
        (
            text(one["task"]),
            text(one["metric"]),
            text(one["against"]),
            number(one.get("other")),
            number(one.get("candidate")),
            number(one.get("difference")),
            _interval(one),
            number(one.get("p_value")),
            number(one.get("samples")),
            text(one.get("rule", "")),
            "passed" if one["passed"] else "failed",
        )
        for one in comparisons
    ]
    return table((*heads, "samples", "rule", "result"), rows)


def _interval(comparison: Mapping[str, Any]) -> str:
    low, high = comparison.get("low"), comparison.get("high")
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"
