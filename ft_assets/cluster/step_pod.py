"""Which pod a step gets in this run: what the run's config says, not the pipeline's file alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ft_assets.config import PipelineSpec, find_pipelines
from ft_assets.config.launchpad import BLOCK_OF_ASSET, effective_spec
from ft_assets.kubernetes import MANAGED, queue_timeout, step_tags

POD_TAG = "dagster-k8s/config"


@dataclass(frozen=True)
class StepPod:
    """What the executor must know of a step beyond Dagster's own."""

    tags: Mapping[str, str]
    """The tags of the op, as Dagster has them: every value a text."""
    queue_seconds: float | None
    """How long it may wait for a node; None for an op that makes no asset of a pipeline."""


def pod_of_step(op: str, tags: Mapping[str, str], run_config: Mapping[str, Any]) -> StepPod:
    """The tags of a step's op as this run's config makes them.

    Args:
        op: the op's name.
        tags: its tags as the definitions have them.
        run_config: of the run.

    Raises:
        UserError: the run's config is not valid.
    """
    found = _assets().get(op)
    if found is None:
        return StepPod({**tags, POD_TAG: _labelled(tags.get(POD_TAG))}, None)
    file_spec, asset = found
    spec = effective_spec(file_spec, run_config)
    changed = {name: json.dumps(value) for name, value in step_tags(spec, asset).items()}
    pod = _labelled(changed.get(POD_TAG, tags.get(POD_TAG)))
    return StepPod({**tags, **changed, POD_TAG: pod}, queue_timeout(spec, asset))


@cache
def _assets() -> dict[str, tuple[PipelineSpec, str]]:
    """The specification of the file and the asset, by the name of the asset's op."""
    return {
        spec.op(asset): (spec, asset)
        for pipeline in find_pipelines()
        # What recipes share comes last: it is the pipeline's.
        for spec in (*pipeline.spec.recipe_specs().values(), pipeline.spec)
        for asset in BLOCK_OF_ASSET
    }


def _labelled(tag: str | None) -> str:
    """The pod with the label by which the reaper knows what is ours, on the job and on the pod."""
    config: dict[str, Any] = json.loads(tag) if tag else {}
    for part in ("job_metadata", "pod_template_spec_metadata"):
        metadata = config.setdefault(part, {})
        metadata["labels"] = {**(metadata.get("labels") or {}), **MANAGED}
    return json.dumps(config)
