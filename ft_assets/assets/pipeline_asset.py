"""What Dagster knows of every asset of a pipeline before one runs: its form, its pod, its pool.

Belongs here: the declaration. Does not belong here: what happens in a step (``step.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from ft_assets.assets.step import Materialized
from ft_assets.config import Pipeline
from ft_assets.config.launchpad_schema import run_config_schema
from ft_assets.kubernetes import GPU_POOL, step_tags


def pipeline_asset(
    pipeline: Pipeline,
    name: str,
    *,
    after: Sequence[str],
    kinds: set[str],
    code_version: str,
    description: str,
    partitions: dg.PartitionsDefinition[str] | None,
    **further: Any,
) -> Callable[[Callable[..., Materialized]], dg.AssetsDefinition]:
    """``dg.asset`` for an asset of a pipeline or of a recipe, with what all of them share."""
    spec = pipeline.spec
    shared: dict[str, Any] = {
        "config_schema": run_config_schema(spec, name),
        "pool": GPU_POOL if spec.kubernetes.gpus_of(name) else None,
        "op_tags": step_tags(spec, name),
        "deps": [dg.AssetKey(spec.key(other)) for other in after],
    }
    make: Any = dg.asset
    decorator: Any = make(
        key=spec.key(name),
        group_name=spec.name,
        kinds=kinds,
        owners=spec.owners,
        tags={"pipeline": spec.name, **_recipe_tag(spec.recipe), **spec.tags},
        code_version=code_version,
        description=description,
        partitions_def=partitions,
        **{**shared, **further},
    )
    return decorator


def _recipe_tag(recipe: str | None) -> dict[str, str]:
    return {} if recipe is None else {"recipe": recipe}
