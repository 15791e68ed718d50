"""The rows of the leaderboard: what each recipe made of each data drop, from the reports alone.

Belongs here: reading and ordering. Does not belong here: the asset (``leaderboard.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from ft_assets.cards.sources import input_of
from ft_assets.config.recipes import DEFAULT
from ft_assets.court import Verdict
from ft_assets.evaluation.report_rows import BASE, CANDIDATE
from ft_assets.evaluation.summary import EvaluationSummary, ModelSummary
from ft_assets.training.outcome import TrainOutcome
from resources.record import Record
from resources.sources.partitions import natural_order

if TYPE_CHECKING:
    from ft_assets.config import Pipeline, PipelineSpec
    from resources.registry import Registry
    from resources.store import Artifact, ArtifactStore

_REPORT, _MODEL = "eval_report", "finetuned_model"


class Standing(Record):
    """One model on the leaderboard: a recipe on a drop."""

    recipe: str
    """``default`` for the training block itself."""
    drop: str | None
    event: int
    """Number of the event in which Dagster learned of the report."""
    report: str
    """Digest of the report."""
    model: str
    """Data version of the model that the report is about."""
    verdict: str
    """won, lost or overruled."""
    reason: str
    base_loss: float | None
    """Of the base model on the held-out rows: nats per token."""
    loss: float | None
    """Of the model, on the same rows."""
    gain: float | None
    """By which share of the base model's loss the model's is lower; drops compare by it, because
    each has held-out rows of its own."""
    scores: dict[str, float]
    """Every score of the model, as ``TASK/METRIC``."""
    trained_tokens: int | None
    seconds: float | None
    """Inside optimizer steps."""


def standings(
    pipeline: Pipeline,
    store: ArtifactStore,
    instance: dg.DagsterInstance,
    before: Mapping[tuple[str, str | None], Standing],
) -> list[Standing]:
    """What every recipe made of every drop, the best first.

    Reports are read that Dagster has heard of since ``before``; of the others its rows are taken.
    A report without an artifact, because the store was pruned or moved, is left out.
    """
    found: list[Standing] = []
    for one in (pipeline, *pipeline.recipes()):
        recipe = one.recipe or DEFAULT
        for drop, event in _reports(one.spec, instance):
            known = before.get((recipe, drop))
            row = known if known and known.event == event else _read(one.spec, store, drop, event)
            if row is not None:
                found.append(row)
    return sorted(found, key=_rank)


def champions(pipeline: Pipeline, registries: Mapping[str, Registry]) -> dict[str, str]:
    """Per data version of a model that is champion now, the name and version it has."""
    found: dict[str, str] = {}
    for one in (pipeline, *pipeline.recipes()):
        name = one.spec.registry.name
        champion = registries[one.recipe or DEFAULT].champion(name)
        if champion is not None:
            found[champion.artifact.digest] = f"{name} {champion.version}"
    return found


def curves(rows: Iterable[Standing]) -> dict[str, list[tuple[float, float]]]:
    """Per recipe its gain in percent over the drops, numbered in natural order from 1."""
    rows = list(rows)
    drops = sorted({row.drop for row in rows if row.drop is not None}, key=natural_order)
    place: dict[str | None, int] = {drop: number for number, drop in enumerate(drops, 1)}
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: place.get(row.drop, 1)):
        if row.gain is not None:
            lines.setdefault(row.recipe, []).append((place.get(row.drop, 1), 100 * row.gain))
    return lines


def _reports(spec: PipelineSpec, instance: dg.DagsterInstance) -> Sequence[tuple[str | None, int]]:
    """Drop and event of the last report of each drop, in one query."""
    key = dg.AssetKey(spec.key(_REPORT))
    if spec.partitioned:
        last = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        return list(last.items())
    event = instance.get_latest_materialization_event(key)
    if event is None:
        return []
    records = instance.get_asset_records([key])
    (record,) = records
    return [(None, record.asset_entry.last_materialization_storage_id or 0)]


def _read(
    spec: PipelineSpec, store: ArtifactStore, drop: str | None, event: int
) -> Standing | None:
    report = store.find(spec.key(_REPORT), drop)
    if report is None:
        return None
    metadata: Any = report.manifest.metadata
    summary = EvaluationSummary.model_validate(metadata["summary"])
    verdict = Verdict.model_validate(metadata["verdict"])
    base, loss = _loss(summary, BASE), _loss(summary, CANDIDATE)
    outcome = _outcome(store, report, metadata["model_data_version"])
    return Standing(
        recipe=spec.recipe or DEFAULT,
        drop=drop,
        event=event,
        report=report.digest,
        model=metadata["model_data_version"],
        verdict="overruled" if verdict.overruled else "won" if verdict.passed else "lost",
        reason=verdict.reason,
        base_loss=base,
        loss=loss,
        gain=None if base is None or loss is None or base == 0 else (base - loss) / base,
        scores=_scores(summary.models.get(CANDIDATE)),
        trained_tokens=outcome.trained_tokens if outcome else None,
        seconds=outcome.train_seconds if outcome else None,
    )


def _outcome(store: ArtifactStore, report: Artifact, model: str) -> TrainOutcome | None:
    """How the training went, where its artifact is still kept."""
    artifact = input_of(store, report, _MODEL)  # its own stands before the champion's
    if artifact is None or artifact.data_version != model:
        return None
    return TrainOutcome.model_validate(artifact.manifest.metadata["outcome"])


def _loss(summary: EvaluationSummary, model: str) -> float | None:
    found = summary.models.get(model)
    return found.held_out.loss if found is not None and found.held_out is not None else None


def _scores(model: ModelSummary | None) -> dict[str, float]:
    if model is None:
        return {}
    return {
        f"{task}/{metric}": value
        for task, metrics in model.tasks.items()
        for metric, value in metrics.items()
        if value is not None and not metric.partition(",")[0].endswith("_stderr")
    }


def _rank(row: Standing) -> tuple[bool, float, str, str]:
    """What won first, then by gain, then by name, so that the order is always the same."""
    gain = -row.gain if row.gain is not None else 0.0
    return row.verdict == "lost", gain, row.recipe, row.drop or ""
