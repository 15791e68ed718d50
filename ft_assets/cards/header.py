"""The YAML header of a card, written and read again by huggingface_hub's own classes.

Belongs here: what the hub's search and widgets read. Does not belong here: the text for people.
"""

from __future__ import annotations

# huggingface_hub's card data have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
import re
from typing import TYPE_CHECKING, Any

from ft_assets.cards.markdown import one_line
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ft_assets.cards.results import Result

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_NOT_IN_A_TYPE = re.compile(r"[^\w.-]+", re.ASCII)
_NOT_IN_A_TAG = re.compile(r"[^\w.:-]+", re.ASCII)
SHOWN_DIGITS = 6


def model_header(
    *,
    name: str,
    base_model: str | None,
    datasets: Sequence[str],
    license_id: str | None,
    languages: Sequence[str],
    tags: Sequence[str],
    results: Sequence[Result],
) -> str:
    """The header of a model card, without the lines ``---``.

    Args:
        name: of the model; the results stand under it.
        base_model: its id on the hub, where it has one.
        datasets: ids on the hub.
        license_id: as the hub names licences: ``apache-2.0``.
        languages: ISO 639 codes.
        tags: the user's own.
        results: of the evaluation.

    Raises:
        UserError: a licence or a language is none that the hub takes.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        model_name=one_line(name),
        base_model=base_model,
        base_model_relation=None if base_model is None else "finetune",
        datasets=list(datasets) or None,
        license=_license(license_id),
        language=_languages(languages),
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=_tags(["ft-assets", *tags]),
        metrics=sorted({_metric_type(result.metric) for result in results}) or None,
        eval_results=[_eval_result(result) for result in results] or None,
    )
    return _accepted(data, ModelCardData)


def dataset_header(
    *,
    name: str,
    license_id: str | None,
    languages: Sequence[str],
    tags: Sequence[str],
    rows: int,
    files: Mapping[str, str],
) -> str:
    """The header of a dataset card, without the lines ``---``.

    Args:
        name: for people.
        license_id: as the hub names licences.
        languages: ISO 639 codes.
        tags: the user's own.
        rows: of all sides together.
        files: per split, the file with its rows.

    Raises:
        UserError: a licence or a language is none that the hub takes.
    """
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        pretty_name=one_line(name),
        license=_license(license_id),
        language=_languages(languages),
        size_categories=_size_category(rows),
        task_categories=["text-generation"],
        tags=_tags(["ft-assets", *tags]),
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": side, "path": path} for side, path in files.items()],
            }
        ],
    )
    return _accepted(data, DatasetCardData)


def card(header: str, body: str) -> str:
    """A whole README.md."""
    return f"---\n{header}\n---\n\n{body.strip()}\n"


def _accepted(data: Any, kind: type) -> str:
    """The header as YAML, after huggingface_hub has read it to the same values."""
    import yaml

    header: str = data.to_yaml(line_break="\n")
    read: Any = kind(**yaml.safe_load(header))
    if read.to_dict() != data.to_dict():
        raise AssertionError("huggingface_hub reads a card's header as something else")
    return header


def _eval_result(result: Result) -> Any:
    from huggingface_hub import EvalResult

    others = {
        "stderr": result.candidate.stderr,
        "base": result.base.value if result.base else None,
        "base_stderr": result.base.stderr if result.base else None,
        "champion": result.champion.value if result.champion else None,
    }
    beside = {name: _rounded(value) for name, value in others.items() if value is not None}
    metric, _, used = result.metric.partition(",")
    return EvalResult(
        task_type="text-generation",
        task_name="Text Generation",
        dataset_type=_NOT_IN_A_TYPE.sub("_", result.task) or "task",
        dataset_name=one_line(result.task),
        dataset_split="held_out" if result.task == "held_out" else None,
        metric_type=_metric_type(result.metric),
        metric_name=one_line(f"{metric} ({used})" if used else metric),
        metric_value=_rounded(result.candidate.value),
        metric_args=beside or None,
    )


def _metric_type(metric: str) -> str:
    return _NOT_IN_A_TYPE.sub("_", metric.partition(",")[0])


def _rounded(value: float) -> float:
    return float(f"{value:.{SHOWN_DIGITS}g}")


def _license(name: str | None) -> str | None:
    if name is not None and not _LICENSE.fullmatch(name):
        raise UserError(
            f"license {name!r} is no licence as the hub names it: write apache-2.0, mit, "
            "cc-by-4.0, other ..., or leave it out"
        )
    return name


def _languages(codes: Sequence[str]) -> list[str] | None:
    for language in codes:
        if not _LANGUAGE.fullmatch(language):
            raise UserError(
                f"language {language!r} is no ISO 639 code: write en, de, multilingual ..., or "
                "leave it out"
            )
    return list(dict.fromkeys(codes)) or None


def _tags(tags: Sequence[str]) -> list[str]:
    clean = (_NOT_IN_A_TAG.sub("-", tag).strip("-") for tag in tags)
    return list(dict.fromkeys(tag for tag in clean if tag))


def _size_category(rows: int) -> str:
    """How the hub names the size: ``n<1K``, ``1K<n<10K`` ..."""
    bounds = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M")]
    bounds += [(10**8, "100M"), (10**9, "1B"), (10**10, "10B"), (10**11, "100B"), (10**12, "1T")]
    below = "n"
    for bound, name in bounds:
        if rows < bound:
            return f"{below}<{name}" if below == "n" else f"{below}<n<{name}"
        below = name
    return "n>1T"
