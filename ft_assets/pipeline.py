"""From one pipeline file to what Dagster runs: assets, checks, a job, what starts it."""

from __future__ import annotations

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false
import dagster as dg

from ft_assets.assets.baseline_report import baseline_report
from ft_assets.assets.eval_report import eval_report
from ft_assets.assets.finetuned_model import finetuned_model
from ft_assets.assets.leaderboard import leaderboard
from ft_assets.assets.raw_dataset import raw_dataset
from ft_assets.assets.registered_version import registered_version
from ft_assets.assets.split_dataset import split_dataset
from ft_assets.assets.token_report import token_report
from ft_assets.automation.new_data.sensor import new_data_sensor
from ft_assets.automation.partitions import drops_of
from ft_assets.automation.schedules import schedule_of
from ft_assets.config import Pipeline


def pipeline_definitions(pipeline: Pipeline) -> dg.Definitions:
    """The definitions of one pipeline; all its assets run as one job of the pipeline's name."""
    spec = pipeline.spec
    drops = drops_of(pipeline)
    assets = [
        raw_dataset(pipeline, drops),
        split_dataset(pipeline, drops),
        baseline_report(pipeline, drops),
        leaderboard(pipeline),
    ]
    for one in (pipeline, *pipeline.recipes()):
        assets += [
            token_report(one, drops),
            finetuned_model(one, drops),
            eval_report(one, drops),
            registered_version(one, drops),
        ]
    job = dg.define_asset_job(
        name=spec.name,
        selection=dg.AssetSelection.groups(spec.name)
        - dg.AssetSelection.assets(spec.key("leaderboard")),
        description=spec.description or f"All assets of the pipeline {spec.name}.",
        tags={"pipeline": spec.name, **spec.tags},
    )
    schedule = schedule_of(pipeline, job)
    return dg.Definitions(
        assets=assets,
        jobs=[job],
        schedules=[schedule] if schedule is not None else [],
        sensors=[new_data_sensor(pipeline, job)],
    )
