"""The five assets as bare Dagster, for bench/partitions.py, backfill.py and daemon_memory.py.

The same names and the same kind of partitions as a pipeline of ours, no work, and the sensor that
Dagster's documentation has: the set difference of a folder and the partitions that there are.
"""

# Without postponed annotations: Dagster reads those of an asset's function.

import os
from pathlib import Path

import dagster as dg

drops = dg.DynamicPartitionsDefinition(name="plain_drops")
FOLDER = Path(os.environ.get("PLAIN_FOLDER", "."))


@dg.asset(key=["plain", "raw_dataset"], group_name="plain", partitions_def=drops)
def raw_dataset() -> dg.MaterializeResult:
    """Nothing."""
    return dg.MaterializeResult()


@dg.asset(
    key=["plain", "split_dataset"], group_name="plain", partitions_def=drops, deps=[raw_dataset]
)
def split_dataset() -> dg.MaterializeResult:
    """Nothing."""
    return dg.MaterializeResult()


@dg.asset(
    key=["plain", "finetuned_model"], group_name="plain", partitions_def=drops, deps=[split_dataset]
)
def finetuned_model() -> dg.MaterializeResult:
    """Nothing."""
    return dg.MaterializeResult()


@dg.asset(
    key=["plain", "eval_report"], group_name="plain", partitions_def=drops, deps=[finetuned_model]
)
def eval_report() -> dg.MaterializeResult:
    """Nothing."""
    return dg.MaterializeResult()


@dg.asset(
    key=["plain", "registered_version"],
    group_name="plain",
    partitions_def=drops,
    deps=[finetuned_model, eval_report],
)
def registered_version() -> dg.MaterializeResult:
    """Nothing."""
    return dg.MaterializeResult()


job = dg.define_asset_job("plain", dg.AssetSelection.groups("plain"))


@dg.sensor(job=job, minimum_interval_seconds=60)
def plain_new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run of each file that is no partition yet."""
    there = {entry.name.removesuffix(".jsonl") for entry in os.scandir(FOLDER)}
    new = sorted(there - set(context.instance.get_dynamic_partitions("plain_drops")))
    if not new:
        return dg.SkipReason("nothing new")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=drop, partition_key=drop) for drop in new],
        dynamic_partitions_requests=[drops.build_add_request(new)],
    )


defs = dg.Definitions(
    assets=[raw_dataset, split_dataset, finetuned_model, eval_report, registered_version],
    jobs=[job],
    sensors=[plain_new_data],
)
