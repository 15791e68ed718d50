"""``leaderboard``: all recipes on all drops beside each other, the best first."""

# Without postponed annotations: Dagster reads those of the asset's function.

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.standings import Standing, champions, curves, standings
from ft_assets.assets.step import Materialized, step
from ft_assets.charts import lines_chart, sparkline_markdown
from ft_assets.config import Pipeline
from ft_assets.config.recipes import DEFAULT
from ft_assets.lineage import table
from ft_assets.provenance.digest import value_digest
from resources.home import Home
from resources.registry import RegistryHub, open_registry
from resources.store import Artifact, ArtifactStore

NAME = "leaderboard"
CODE_VERSION = "1"
ROWS_FILE = "standings.jsonl"
TABLE_FILE = "leaderboard.csv"
CHART_FILE = "leaderboard.svg"
_SHOWN = 50
"""Rows in the UI; the file has all of them."""


def leaderboard(pipeline: Pipeline) -> dg.AssetsDefinition:
    """The asset ``[pipeline, leaderboard]``; one for all drops.

    It is no part of the pipeline's job: the checks of a report stop what comes after it in a run,
    and a model that lost has its place here too.
    """
    specs = [pipeline.spec, *(one.spec for one in pipeline.recipes())]

    @pipeline_asset(
        pipeline,
        NAME,
        after=(),
        kinds={"csv"},
        code_version=CODE_VERSION,
        description=(
            "All models of this pipeline beside each other: every recipe on every drop, by how "
            "much better than the base model they are on held-out rows. Read again from the "
            "reports that are new; switch the automation sensor on to have that done by itself."
        ),
        partitions=None,
        deps=[
            dg.AssetDep(
                dg.AssetKey(spec.key("eval_report")),
                partition_mapping=dg.AllPartitionMapping() if spec.partitioned else None,
            )
            for spec in specs
        ],
        automation_condition=(
            dg.AutomationCondition.any_deps_updated().since_last_handled()
            & ~dg.AutomationCondition.in_progress()
        ),
    )
    def asset(
        context: dg.AssetExecutionContext, store: ArtifactStore, home: Home, registry: RegistryHub
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this, this.alone(home):
            existing = store.find(this.key, None)
            with this.working():
                rows = standings(pipeline, store, context.instance, _before(existing))
                in_force = _in_force(pipeline, registry)
            with this.publish(store, [], models=len(rows)) as draft:
                with (draft.path / ROWS_FILE).open("w") as file:
                    file.writelines(f"{row.model_dump_json()}\n" for row in rows)
                with (draft.path / TABLE_FILE).open("w", newline="") as file:
                    _write_table(file, rows, in_force)
                (draft.path / CHART_FILE).write_text(_chart(this.title, rows))
                draft.data_version = value_digest(
                    [[row.model_dump(mode="json", exclude={"event"}) for row in rows], in_force]
                )
            assert draft.artifact is not None
            same = existing is not None and existing.data_version == draft.artifact.data_version
            return this.result(
                draft.artifact, [], _page(draft.artifact, rows, in_force), up_to_date=same
            )

    return asset


def shown_rows(
    pipeline: Pipeline, instance: dg.DagsterInstance, resources: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The leaderboard as it is now, a row per model; for programs that read it outside a run."""
    store: ArtifactStore = resources["store"]
    before = _before(store.find(pipeline.spec.key(NAME), None))
    in_force = _in_force(pipeline, resources["registry"])
    rows = standings(pipeline, store, instance, before)
    return [_line(row, place, in_force) for place, row in enumerate(rows, 1)]


def _in_force(pipeline: Pipeline, registry: RegistryHub) -> dict[str, str]:
    """The champions of all recipes."""
    specs = [pipeline.spec, *(one.spec for one in pipeline.recipes())]
    opened = {
        spec.recipe or DEFAULT: open_registry(registry, spec.registry.settings()) for spec in specs
    }
    return champions(pipeline, opened)


def _before(existing: Artifact | None) -> dict[tuple[str, str | None], Standing]:
    """The rows of last time; none when another version of the code wrote them."""
    if existing is None:
        return {}
    provenance: Any = existing.manifest.metadata["provenance"]
    if provenance["code_version"] != CODE_VERSION:
        return {}
    with existing.file(ROWS_FILE).open() as file:
        rows = [Standing.model_validate_json(line) for line in file]
    return {(row.recipe, row.drop): row for row in rows}


def _write_table(file: Any, rows: Sequence[Standing], in_force: dict[str, str]) -> None:
    scores = sorted({name for row in rows for name in row.scores})
    writer = csv.writer(file)
    writer.writerow([*_line(None, 0, in_force), *scores, "model", "report", "reason"])
    for place, row in enumerate(rows, 1):
        values = _line(row, place, in_force).values()
        measured = [row.scores.get(name, "") for name in scores]
        writer.writerow([*values, *measured, row.model, row.report, row.reason])


def _line(row: Standing | None, place: int, in_force: dict[str, str]) -> dict[str, Any]:
    """A row as people read it; of no row, its columns."""
    return {
        "place": place,
        "recipe": row and row.recipe,
        "drop": (row and row.drop) or "",
        "gain %": _rounded(row and row.gain, 100, 2),
        "held-out loss": _rounded(row and row.loss, 1, 4),
        "base": _rounded(row and row.base_loss, 1, 4),
        "verdict": row and row.verdict,
        "champion": in_force.get(row.model, "") if row else "",
        "trained tokens": row and row.trained_tokens,
        "minutes": _rounded(row and row.seconds, 1 / 60, 1),
    }


def _rounded(value: float | None, factor: float, digits: int) -> float | None:
    return None if value is None else round(factor * value, digits)


def _chart(title: str, rows: Sequence[Standing]) -> str:
    return lines_chart(
        curves(rows),
        title=f"{title}: how much lower the held-out loss is than the base model's",
        x="drop, in order of names",
        y="gain (%)",
    )


def _page(artifact: Artifact, rows: Sequence[Standing], in_force: dict[str, str]) -> dict[str, Any]:
    place = f"{artifact.uri}/{CHART_FILE}"
    page: dict[str, Any] = {
        "dagster/row_count": len(rows),
        "best": _best(rows),
        "leaderboard": table(list(_lines(rows, in_force))),
        **{
            f"gain of {recipe}": dg.MetadataValue.md(
                sparkline_markdown([gain for _, gain in line], f"gain of {recipe} over the drops")
            )
            for recipe, line in curves(rows).items()
            if line[1:]
        },
        "chart": dg.PathMetadataValue(place) if place.startswith("/") else place,
    }
    if rows[_SHOWN:]:
        page["not_shown"] = f"{len(rows) - _SHOWN} more models stand in {TABLE_FILE}"
    return page


def _lines(rows: Sequence[Standing], in_force: dict[str, str]) -> Iterator[dict[str, Any]]:
    for place, row in enumerate(rows[:_SHOWN], 1):
        yield _line(row, place, in_force)


def _best(rows: Sequence[Standing]) -> str:
    if not rows:
        return "nothing has been evaluated yet"
    first = rows[0]
    drop = f" on {first.drop}" if first.drop else ""
    gain = "" if first.gain is None else f", {100 * first.gain:.1f} % below the base model's loss"
    return f"{first.recipe}{drop}: {first.verdict}{gain}"
