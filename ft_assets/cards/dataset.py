"""The dataset card: the README.md of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.cards import data
from ft_assets.cards.header import card, dataset_header
from ft_assets.cards.markdown import bullets, code, number, paragraphs, sections, table, text
from ft_assets.cards.recipe import config_table
from ft_assets.data.split_report import HELD_OUT_FILE, TRAIN_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def dataset_card(
    *,
    name: str,
    partition: str | None,
    report: Mapping[str, Any],
    contamination: Mapping[str, Any] | None = None,
    raw: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    description: str = "",
    license_id: str | None = None,
    languages: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> str:
    """The README.md of a split.

    Args:
        name: of the pipeline.
        partition: the data drop.
        report: the split's report (``SplitReport``), as JSON values.
        contamination: that of the decontamination, where there was one.
        raw: metadata of the manifest of ``raw_dataset``.
        config: the effective ``dataset`` block.
        description: what the data is for.
        license_id: as the hub names licences (``apache-2.0``), where it is known.
        languages: ISO 639 codes, where they are known.
        tags: for the hub.

    Raises:
        UserError: the licence or a language is none that the hub takes.
    """
    title = f"{name}, drop {partition}" if partition else name
    held_out = {"test": HELD_OUT_FILE} if report["held_out_rows"] else {}
    header = dataset_header(
        name=title,
        license_id=license_id,
        languages=languages,
        tags=tags,
        rows=report["train_rows"] + report["held_out_rows"],
        files={"train": TRAIN_FILE, **held_out},
    )
    known = dict(config or {})
    body = sections(
        [
            ("What it is", _summary(report, description)),
            ("Source", data.source(raw)),
            ("Rows", _rows(report, raw)),
            ("Strata", data.strata_table(report)),
            ("Contamination", data.contamination_text(contamination)),
            ("Personal and secret data", data.sensitive_text(known, raw)),
            ("Limits", _limits(report, license_id, languages)),
            ("How it was made", config_table(known)),
            ("How to load it", _loading(bool(held_out))),
            ("Provenance", _provenance(report, raw)),
        ]
    )
    return card(header, f"# {text(title)}\n\n{body}")


def _summary(report: Mapping[str, Any], description: str) -> str:
    return "\n\n".join(
        part
        for part in (
            paragraphs(description),
            f"Rows to fine-tune a language model with ({number(report['train_rows'])}) and to "
            f"measure it with ({number(report['held_out_rows'])}). {data.split_text(report)}",
        )
        if part
    )


def _rows(report: Mapping[str, Any], raw: Mapping[str, Any] | None) -> str:
    parts = [data.rows_table(raw, report)]
    read: Mapping[str, Any] = (raw or {}).get("report", {})
    for what, key in {"shape": "shapes", "role": "roles"}.items():
        if read.get(key):
            counts = [(text(one), number(count)) for one, count in read[key].items()]
            parts += [table((what, "turns" if key == "roles" else "rows"), counts)]
    return "\n\n".join(parts)


def _limits(report: Mapping[str, Any], license_id: str | None, languages: Sequence[str]) -> str:
    lines = [text(warning) for warning in report["warnings"]]
    if license_id is None:
        lines += ["The licence is not known: ask the owner of the source before you pass it on."]
    if not languages:
        lines += ["The languages of the rows were not determined."]
    lines += ["Nobody has checked the rows for truth, bias or harmful content."]
    return bullets(lines)


def _loading(held_out: bool) -> str:
    files = f'"train": "{TRAIN_FILE}"' + (f', "test": "{HELD_OUT_FILE}"' if held_out else "")
    return (
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'rows = load_dataset("json", data_files={{{files}}})\n'
        "```"
    )


def _provenance(report: Mapping[str, Any], raw: Mapping[str, Any] | None) -> str:
    facts = [
        (f"sha256 of {TRAIN_FILE}", code(report["train_digest"])),
        (f"sha256 of {HELD_OUT_FILE}", code(report["held_out_digest"])),
    ]
    if raw is not None and "report" in raw:
        facts += [("sha256 of the rows it was made from", code(raw["report"]["digest"]))]
    return table(("what", "value"), facts)
