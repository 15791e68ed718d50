"""``ft court``: the verdict on a candidate again, from the artifacts of evaluations alone.

Belongs here: which artifact a word on the command line means, and how a verdict is shown. Does not
belong here: the judgement (``ft_assets.court``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ft_assets.cli.output import command, fail, json_option
from ft_assets.config import PipelineSpec, find_recipes
from ft_assets.court import Comparison, Settings, Verdict
from ft_assets.court.judge import BASE, CANDIDATE, CHAMPION, Side, judge_sides
from ft_assets.evaluation.summary import EvaluationSummary
from resources.errors import UserError

if TYPE_CHECKING:
    from resources.store import ArtifactStore

_REPORT = "eval_report"
_NUMBER = "right"


@dataclass(frozen=True)
class _Report:
    """A published evaluation."""

    where: str
    folder: Path
    summary: EvaluationSummary
    recorded: Verdict | None
    """The verdict that was published with it."""

    def side(self, model: str, called: str) -> Side:
        """One model of it."""
        return Side(self.summary, self.folder / "samples", model, called)


@click.command("court")
@click.argument("candidate")
@click.argument("champion", required=False)
@click.option("--rules", "pipeline", help="Judge by what this pipeline's file asks for today.")
@json_option
@command
def court(*, candidate: str, champion: str | None, pipeline: str | None, as_json: bool) -> None:
    """Judge a candidate again, from the artifacts of its evaluation alone.

    CANDIDATE and CHAMPION name evaluations: PIPELINE or PIPELINE@PARTITION (the current report),
    MODEL:VERSION of the registry, or the folder of a published report. Without CHAMPION the
    candidate is compared with the champion inside its own report, if there is one. The rules are
    those of the verdict in the report. Exit status: 0 promoted, 1 not promoted (or bad input).
    """
    report = _report(candidate)
    settings = _settings(report, pipeline)
    opponent = _champion(report, champion)
    if champion is not None:
        # Who overruled the court in the report did so against that report's opponents alone.
        plain = settings.promotion.model_copy(update={"overrule": ""})
        settings = settings.model_copy(update={"champion_expected": True, "promotion": plain})
    verdict = judge_sides(
        report.side(CANDIDATE, "the candidate"),
        report.side(BASE, "the base model"),
        opponent,
        settings,
    )
    replayed = champion is None and pipeline is None and report.recorded is not None
    same = verdict == report.recorded if replayed else None
    result: dict[str, Any] = {
        "candidate": report.where,
        "champion": champion,
        "promoted": verdict.passed,
        "same_as_recorded": same,
        "verdict": verdict.model_dump(mode="json"),
    }
    if not as_json:
        _draw(Console(), verdict, same)
    if not verdict.passed:
        fail(f"not promoted: {verdict.reason}", as_json=as_json, **result)
    if as_json:
        print(json.dumps(result))


def _champion(report: _Report, named: str | None) -> Side | None:
    if named is not None:
        return _report(named).side(CANDIDATE, "the champion")
    inside = report.side(CHAMPION, "the champion")
    return inside if inside.present else None


def _settings(report: _Report, pipeline: str | None) -> Settings:
    """The rules to judge by: those of the verdict in the report, or a pipeline's of today."""
    recorded = report.recorded.settings if report.recorded is not None else None
    if pipeline is not None:
        spec = _pipelines().get(pipeline)
        if spec is None:
            raise UserError(f"--rules {pipeline}: there is no such pipeline (ft list)")
        return Settings(
            promotion=spec.promotion,
            tasks=spec.evaluation.tasks,
            held_out=spec.holds_out,
            champion_expected=recorded is not None and recorded.champion_expected,
        )
    if recorded is None:
        raise UserError(
            f"{report.where} holds no verdict.json that says by which rules it was judged: name "
            "a pipeline whose rules to use (--rules PIPELINE)"
        )
    return recorded


def _report(name: str) -> _Report:
    """The evaluation that a word means.

    Raises:
        UserError: there is none, or it is damaged.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _read(name, folder)
    model, colon, version = name.partition(":")
    if colon:
        return _read(name, _of_version(model, version))
    pipeline, at, partition = name.partition("@")
    if pipeline not in _pipelines():
        raise UserError(
            f"{name!r} names no evaluation: give PIPELINE[@PARTITION], MODEL:VERSION or the "
            f"folder of a published report (pipelines: {', '.join(sorted(_pipelines()))})"
        )
    key = _pipelines()[pipeline].key(_REPORT)
    return _read(name, _store().open(key, partition if at else None).path)


def _of_version(model: str, version: str) -> Path:
    """The report by which a registered version won."""
    from ft_assets.cli.registry import registry_of

    properties = registry_of(model).get(model, version).properties
    pipeline, digest = properties.get("pipeline"), properties.get("eval_report.digest")
    if not pipeline or not digest:
        raise UserError(
            f"the registry does not say which evaluation {model}:{version} won by: name it as "
            "PIPELINE@PARTITION or by its folder"
        )
    partition = str(properties.get("partition", "")) or None
    recipe = properties.get("recipe")
    key = [str(pipeline), *([str(recipe)] if recipe else []), _REPORT]
    return _store().open_version(key, partition, str(digest)).path


def _read(where: str, folder: Path) -> _Report:
    inside = folder / "files"  # of a version's folder in a local store
    files = inside if inside.is_dir() and not (folder / "results.json").exists() else folder
    try:
        summary = EvaluationSummary.model_validate_json((files / "results.json").read_bytes())
        recorded = files / "verdict.json"
        verdict = Verdict.model_validate_json(recorded.read_bytes()) if recorded.exists() else None
    except OSError as error:
        raise UserError(
            f"{where} is no published evaluation: {error.filename} cannot be read "
            f"({error.strerror})"
        ) from error
    except ValidationError as error:
        raise UserError(
            f"{where}: its results.json or verdict.json is damaged, or of another version of "
            "ft-assets: materialize eval_report again"
        ) from error
    return _Report(where, files, summary, verdict)


def _store() -> ArtifactStore:
    from ft_assets.code_location import default_resources

    return default_resources()["store"]


def _pipelines() -> dict[str, PipelineSpec]:
    return {label: pipeline.spec for label, pipeline in find_recipes().items()}


def _draw(console: Console, verdict: Verdict, same: bool | None) -> None:
    if verdict.comparisons:
        console.print(_comparisons(verdict.comparisons))
    for check in verdict.checks:
        style, word = ("green", "passed") if check.passed else ("red", "failed")
        console.print(Text.assemble((f"{word}  {check.name}: ", style), check.reason))
    if same is not None:
        agrees = "the verdict is the recorded one" if same else "THE RECORDED VERDICT DIFFERS"
        console.print(agrees, style="" if same else "red")
    if verdict.passed:
        console.print(Text(verdict.reason, "green" if verdict.won else "yellow"))


def _comparisons(comparisons: list[Comparison]) -> Table:
    table = Table("metric", "against", "rule")
    for header in ("candidate", "other", "difference", "interval", "p", "documents"):
        table.add_column(header, justify=_NUMBER)
    for one in comparisons:
        interval = ""
        if one.low is not None and one.high is not None:
            interval = f"{one.low:+.4f} to {one.high:+.4f}"
        table.add_row(
            f"{one.task}/{one.metric}",
            one.against,
            one.rule if one.margin is None else f"{one.rule} by {one.margin:g}",
            _number(one.candidate),
            _number(one.other),
            _number(one.difference, "+"),
            interval,
            "" if one.p_adjusted is None else f"{one.p_adjusted:.3g}",
            str(one.samples or ""),
            style="" if one.passed else "red",
        )
    return table


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.4f}"
