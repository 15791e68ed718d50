"""``ft plan``: what a run will need and take, before anything is started.

Reads the base model's headers, the token report when there is one, and the configuration. It loads
no weights, asks for no GPU and imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from ft_assets.assets.champion_start import champion_starts, shaped_as, unlike_the_base
from ft_assets.assets.token_report import tokens_for
from ft_assets.assets.training_estimate import backend_here
from ft_assets.cli.output import show
from ft_assets.cli.refused import elsewhere, refusals
from ft_assets.code_location import default_resources
from ft_assets.config import KubernetesConfig, Pipeline, PipelineSpec, TrainingConfig
from ft_assets.config.block import Block
from ft_assets.config.launchpad import changed_spec
from ft_assets.executor import on_kubernetes
from ft_assets.kubernetes import pod_template, step_pod
from ft_assets.provenance.builder import this_builder
from ft_assets.training.base_model import BaseModelRef, locate
from ft_assets.training.estimate import TrainingEstimate, World, estimate, read_architecture
from ft_assets.training.estimate.compare import measured_speed
from ft_assets.training.estimate.world import gib, this_cpu_is_fast_in_bf16
from ft_assets.training.token_report import TokenReport
from resources.errors import UserError
from resources.home import Home
from resources.store import ArtifactStore

_BLOCKS: dict[str, type[Block]] = {"training": TrainingConfig, "kubernetes": KubernetesConfig}


@dataclass(frozen=True)
class _Data:
    """What is known of the rows."""

    report: TokenReport | None
    note: str


def plan(
    pipeline: Pipeline, partition: str | None, settings: Mapping[str, Any], *, as_json: bool
) -> None:
    """Show what a run of a pipeline will need and take.

    Args:
        pipeline: the pipeline.
        partition: the drop whose token report is read.
        settings: ``training.NAME`` or ``kubernetes.NAME`` and a value, for this plan alone.
        as_json: whether one JSON object is printed.

    Raises:
        UserError: a setting is not valid, or the base model's shapes cannot be read.
    """
    spec = _spec_with(pipeline.spec, settings)
    training = spec.training
    resources = default_resources()
    home: Home = resources["home"]
    store: ArtifactStore = resources["store"]
    base = locate(
        training.base_model,
        folder=pipeline.folder,
        models=home.models,
        chat_template=training.chat_template,
        hf_token_env=training.hf_token_env,
        special_tokens=training.special_tokens,
    )
    starts = champion_starts(store, resources["registry"], spec, partition)
    start = starts.start if starts is not None else None
    model = shaped_as(store, base, starts, spec)
    data = _data(store, spec, partition, model)
    has_bf16 = this_cpu_is_fast_in_bf16()
    backend = _planned_backend(spec)
    world = World.of(training, spec.kubernetes, backend=backend, cpu_has_bf16=has_bf16)
    shape = start.base_digest if start is not None else base.digest
    planned = estimate(
        read_architecture(model, home.models),
        training,
        spec.kubernetes,
        data.report,
        backend=backend,
        cpu_has_bf16=has_bf16,
        measured_tokens_per_second=_measured(store, spec, partition, world, shape=shape),
    )
    unlike = unlike_the_base(start, base)
    warnings = [*planned.warnings, *([unlike] if unlike else []), *elsewhere(spec, world)]
    split = store.find(spec.key("split_dataset"), partition)
    if spec.kubernetes.workers == 1:
        pod = step_pod(spec, "finetuned_model")
    else:  # that of each worker
        pod = pod_template(spec.kubernetes, training.hf_token_env)
    result = {
        "pipeline": spec.name,
        "partition": partition,
        **_figures(planned),
        "starts_from": str(start) if start is not None else base.name,
        "quantization": _quantization(training),
        "data": data.note,
        "refused": refusals(spec, planned, split=split, model=model, models=home.models),
        "warnings": warnings,
        "pod": pod,
    }
    show(result, lambda console: _draw(console, result, planned), as_json=as_json)


def _spec_with(spec: PipelineSpec, settings: Mapping[str, Any]) -> PipelineSpec:
    values = spec.model_dump()
    for setting, value in settings.items():
        block, _, parameter = setting.partition(".")
        if parameter not in (_BLOCKS[block].model_fields if block in _BLOCKS else {}):
            raise UserError(
                f"--set {setting}: there is no such parameter; name one of the block "
                f"{' or '.join(_BLOCKS)} as BLOCK.PARAMETER"
            )
        values[block][parameter] = value
    return changed_spec(values, "--set")


def _data(
    store: ArtifactStore, spec: PipelineSpec, partition: str | None, base: BaseModelRef
) -> _Data:
    """The token report of this drop, if it is one of this base model's tokens."""
    drop = f" --partition {partition}" if partition else ""
    make = f"ft run {spec.name}{drop} --select raw_dataset,split_dataset,token_report"
    if store.find(spec.key("token_report"), partition) is None:
        return _Data(
            None,
            "not materialized: nothing is said of rows, steps, time and cost, and the memory is "
            f"that of full parts in which every token is trained on; make it with {make}",
        )
    report = tokens_for(store, spec, partition, base)
    if report is None:
        return _Data(
            None,
            "the token report is of another base model, sequence length or data: nothing is said "
            f"of rows, steps, time and cost; make it again with {make}",
        )
    return _Data(report, f"token report of {report.rows} rows")


def _measured(
    store: ArtifactStore, spec: PipelineSpec, partition: str | None, world: World, *, shape: str
) -> float | None:
    """Tokens per second of the last run, if it did the same work on as many processes."""
    artifact = store.find(spec.key("finetuned_model"), partition)
    if artifact is None:
        return None
    trained = artifact.manifest.metadata
    machine = None if on_kubernetes() or world.on_gpu else this_builder()
    return measured_speed(
        trained, spec.training, spec.kubernetes, world, base_digest=shape, machine=machine
    )


def _planned_backend(spec: PipelineSpec) -> str | None:
    """What will train; None: what the block asks for, as before there is a GPU on any machine."""
    here = backend_here(spec)
    return None if here == "cpu" else here


def _figures(planned: TrainingEstimate) -> dict[str, Any]:
    world, rows, time = planned.world, planned.rows, planned.duration
    return {
        "base_model": planned.base_model,
        "algorithm": planned.algorithm,
        "backend": world.backend,
        "precision": world.precision,
        "processes": world.processes,
        "sharding": world.sharding,
        "parameters": planned.parameters,
        "trainable_parameters": planned.trained.trainable,
        "trainable": planned.trained.note(),
        "tokens_at_once": planned.part.tokens,
        "memory_gib": {
            **{part: gib(count) for part, count in planned.memory.model_dump().items()},
            "total": gib(planned.memory.total),
            "available": gib(world.memory_limit),
        },
        "host_memory_gib": gib(planned.host_memory),
        "verdict": planned.verdict,
        "fits": planned.verdict == "fits",
        "largest_max_tokens_per_gpu": planned.largest_max_tokens_per_gpu,
        "remedies": list(planned.remedies),
        "rows": rows.rows if rows else None,
        "rows_dropped": rows.rows_dropped if rows else None,
        "rows_cut": rows.rows_cut if rows else None,
        "steps": rows.steps if rows else None,
        "tokens": rows.tokens if rows else None,
        "trained_tokens": rows.trained_tokens if rows else None,
        "tokens_per_second": round(time.tokens_per_second, 1) if time else None,
        "speed_from": time.speed_from if time else None,
        "hours": round(time.hours, 4) if time else None,
        "gpu_hours": round(time.gpu_hours, 4) if time else None,
        "cost": round(time.cost, 2) if time and time.cost is not None else None,
        "guidance": planned.guidance,
    }


def _quantization(training: TrainingConfig) -> str | None:
    if training.algorithm != "lora_sft":
        return None
    return "4-bit" if training.load_in_4bit else "8-bit" if training.load_in_8bit else None


def _draw(console: Console, result: Mapping[str, Any], planned: TrainingEstimate) -> None:
    console.print(_what(result))
    console.print(_memory(planned))
    if planned.rows is not None:
        console.print(_time(result))
    console.print(f"data: {result['data']}", highlight=False, markup=False)
    for refusal in result["refused"]:
        console.print(f"refused: {refusal}", style="red", highlight=False, markup=False)
    for title, lines in (
        ("what to change", result["remedies"]),
        ("warnings", result["warnings"]),
        ("size", [result["guidance"]]),
    ):
        if lines:
            console.print(f"{title}:", style="bold", highlight=False)
            for line in lines:
                console.print(f"  - {line}", highlight=False, markup=False)
    console.print("pod that will be asked for:", style="bold", highlight=False)
    pod = yaml.safe_dump(result["pod"], sort_keys=False)
    console.print(pod.rstrip(), highlight=False, markup=False)


def _what(result: Mapping[str, Any]) -> Table:
    table = Table("run", "", title=f"{result['pipeline']}: plan")
    table.add_row("base model", str(result["base_model"]))
    if result["starts_from"] != result["base_model"]:
        table.add_row("starts from", str(result["starts_from"]))
    table.add_row("parameters", f"{result['parameters']:,}")
    table.add_row(
        "trainable parameters", f"{result['trainable_parameters']:,} ({result['trainable']})"
    )
    over = f" over {result['quantization']} weights" if result["quantization"] else ""
    table.add_row("algorithm", f"{result['algorithm']} with {result['backend']}{over}")
    table.add_row(
        "processes", f"{result['processes']}, {result['sharding']}, {result['precision']}"
    )
    table.add_row("tokens at once", f"{result['tokens_at_once']:,}")
    return table


def _memory(planned: TrainingEstimate) -> Table:
    where = "per GPU" if planned.world.on_gpu else "of the training process"
    table = Table(f"memory {where}", "GiB")
    for part, count in planned.memory.model_dump().items():
        table.add_row(part, f"{gib(count):.2f}")
    table.add_row("total", f"{gib(planned.memory.total):.2f}")
    limit = gib(planned.world.memory_limit)
    table.add_row("available", f"{limit:.2f}: {planned.verdict.replace('_', ' ')}")
    return table


def _time(result: Mapping[str, Any]) -> Table:
    table = Table("data and time", "")
    table.add_row("rows", f"{result['rows']:,}")
    table.add_row("rows dropped", f"{result['rows_dropped']:,}, {result['rows_cut']:,} cut")
    table.add_row("optimizer steps", f"{result['steps']:,}")
    table.add_row("tokens", f"{result['tokens']:,}, {result['trained_tokens']:,} trained on")
    table.add_row("tokens per second", f"{result['tokens_per_second']:,} ({result['speed_from']})")
    table.add_row("hours", f"{result['hours']:g}, {result['gpu_hours']:g} GPU hours")
    cost = result["cost"]
    table.add_row(
        "cost", "unknown: set kubernetes.gpu_hour_price" if cost is None else f"{cost:,.2f}"
    )
    return table
