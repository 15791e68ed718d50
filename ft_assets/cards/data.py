"""What a card says about the rows: how many, what was left out and why, what was looked for.

Belongs here: the words for the reports of ``raw_dataset`` and ``split_dataset``, which both cards
share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.cards.markdown import bullets, code, number, table, text
from ft_assets.cards.places import public
from ft_assets.data import split_report as reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

_REASONS = {
    reasons.DUPLICATE: "equal to an earlier row",
    reasons.DUPLICATE_HELD_OUT: "equal to an earlier row of the held-out set",
    reasons.EQUALS_HELD_OUT: "equal to a held-out row",
    reasons.GROUP_HELD_OUT: "of a group that is held out",
    reasons.NOT_IN_SUBSET: "not in the subset that was asked for",
    reasons.NEAR_HELD_OUT: "nearly equal to a held-out row",
    reasons.NEAR_TRAINING: "nearly equal to another training row",
    reasons.CONTAMINATED: "hold a question of an evaluation, or a held-out row",
}


def source(raw: Mapping[str, Any] | None) -> str:
    """Where the rows come from: the place, and each file with its digest."""
    if raw is None:
        return "Not known."
    found: Mapping[str, Any] = raw.get("source", {})
    revision = found.get("revision")
    at = f" at revision {code(revision)}" if revision else ""
    lines = [f"Read from {text(public(str(found.get('uri', 'an unknown place'))))}{at}."]
    files = list(found.get("files", []))
    if files:
        rows = [
            (text(public(file["name"])), number(file.get("size")), code(file.get("sha256") or ""))
            for file in files[:50]
        ]
        lines += [table(("file", "bytes", "sha256"), rows)]
        if len(files) > len(rows):
            lines += [f"And {len(files) - len(rows)} files more."]
    return "\n\n".join(lines)


def rows_table(raw: Mapping[str, Any] | None, report: Mapping[str, Any]) -> str:
    """How many rows there were, and what became of them."""
    rows: list[tuple[str, str]] = []
    drops: list[Mapping[str, Any]] = report.get("drops") or []
    if drops:
        rows += [("drops that add up", number(len(drops)))]
        rows += [("rows of all these drops", number(sum(one["rows"] for one in drops)))]
    elif raw is not None and "report" in raw:
        read: Mapping[str, Any] = raw["report"]
        rows += [("rows read", number(read["rows_read"]))]
        rows += [
            (f"dropped as unusable: {text(kind)}", number(count))
            for kind, count in sorted(read["dropped"].items())
        ]
    rows += [
        (f"dropped: {_REASONS.get(why, text(why))}", number(count))
        for why, count in sorted(report["dropped"].items())
    ]
    rows += [
        ("training rows", number(report["train_rows"])),
        ("held-out rows", number(report["held_out_rows"])),
        ("exact duplicates found", number(report["duplicates"])),
    ]
    if report["near_duplicates"]:
        rows += [("clusters of near duplicates in training", number(report["near_clusters"]))]
    if report["groups"]:
        rows += [("groups, each on one side", number(report["groups"]))]
    return table(("what", "number"), rows)


def split_text(report: Mapping[str, Any]) -> str:
    """How the sides were chosen."""
    near: float = report["near_duplicates"]
    return (
        "A row's side follows from its content (or its group) and the seed "
        f"{code(report['seed'])} alone: {float(report['ratio_actual']):.1%} of the rows are for "
        f"training ({float(report['ratio_asked']):.1%} asked for). "
        + (
            f"Near duplicates have a similarity (Jaccard, word 3-grams) of {near} or more."
            if near
            else "Near duplicates were not looked for."
        )
    )


def contamination_text(found: Mapping[str, Any] | None) -> str:
    """What of the evaluations stood in the training rows."""
    if found is None:
        return "Training rows were not compared with the questions of evaluations."
    lines = [
        f"{number(found['rows'])} training rows were compared with {number(found['documents'])} "
        f"questions of evaluations and held-out rows: {number(found['contaminated_rows'])} held "
        f"one ({number(found['question_and_answer'])} with its answer). What was done with them: "
        f"{code(found['on_contamination'])}."
    ]
    unread = {
        "documents too short or too common to be searched for": found["documents_unsearchable"],
        "rows of token ids that were not compared": found["rows_unchecked"],
    }
    lines += [f"{number(count)} {what}." for what, count in unread.items() if count]
    if found["tasks"]:
        rows = [
            (text(task), number(c["documents"]), number(c["documents_found"]), number(c["rows"]))
            for task, c in sorted(found["tasks"].items())
        ]
        lines += [table(("task", "documents", "found in the rows", "rows"), rows)]
    return "\n\n".join(lines)


def strata_table(report: Mapping[str, Any]) -> str:
    """How each stratum was divided; empty where rows have none."""
    rows = [
        (
            "all others" if one["name"] is None else text(one["name"]),
            number(one["train_rows"]),
            number(one["held_out_rows"]),
        )
        for one in report["strata"]
    ]
    return table(("stratum", "training", "held out"), rows) if rows else ""


def sensitive_text(config: Mapping[str, Any], raw: Mapping[str, Any] | None) -> str:
    """What was done about personal and secret data in the rows."""
    asked = config.get("sensitive", "ignore")
    if asked == "ignore":
        return "Keys, tokens, passwords and mail addresses were not looked for in the rows."
    found: Mapping[str, int] = (raw or {}).get("report", {}).get("sensitive", {})
    done = {
        "warn": "only counted; they are still in the rows",
        "drop": "dropped with their rows",
        "redact": "replaced by the names of their rules",
    }[asked]
    counts = ", ".join(f"{text(rule)} ({number(n)})" for rule, n in sorted(found.items()))
    return (
        f"Keys, tokens, passwords and mail addresses were looked for and {done}: "
        f"{counts or 'none found'}."
    )


def warnings_list(report: Mapping[str, Any]) -> str:
    """What the split itself warned of."""
    return bullets(text(warning) for warning in report["warnings"])
