"""Tags that a run gets from its own steps, so that it is found in the UI's list of runs.

``pipeline``, ``ft/recipe``, ``ft/drop``, ``ft/gpu_hours`` and ``ft/cost``, each left out where it
is not known, and the last two once more for each recipe, as in ``ft/cost.default``. Belongs here:
which tags there are and how they are written. Does not belong here: the tags that a run has from
the start, which are those of its job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_assets.config.recipes import DEFAULT, PER_RECIPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dagster as dg

    from ft_assets.config import Pipeline
    from ft_assets.training.cost import TrainingCost

PIPELINE = "pipeline"
"""The pipeline; runs of its job have it from the start."""
RECIPE = "ft/recipe"
"""The recipes that the run made something of, with commas between; ``default`` for the training
block itself."""
DROP = "ft/drop"
GPU_HOURS = "ft/gpu_hours"
"""Of the trainings that the run published, together; ``of_recipe`` gives the tag of each."""
COST = "ft/cost"
"""Of the same, in the currency of ``kubernetes.gpu_hour_price``."""

_DECIMALS = 4


def tag_with_what_is_made(
    context: dg.AssetExecutionContext, pipeline: Pipeline, asset: str, partition: str | None
) -> None:
    """Tag the run with the pipeline, the drop and the recipe that a step of it is about.

    Steps that all recipes share say nothing of a recipe.
    """
    before = _tags(context)
    tags = {PIPELINE: pipeline.spec.name}  # runs of chosen assets have none of a job
    if partition is not None:
        tags[DROP] = partition
    if asset in PER_RECIPE:
        known = [name for name in before.get(RECIPE, "").split(",") if name]
        tags[RECIPE] = ",".join(sorted({*known, pipeline.spec.recipe or DEFAULT}))
    _add(context, before, tags)


def tag_with_cost(context: dg.AssetExecutionContext, cost: TrainingCost) -> None:
    """Tag the run with what a training took: of its recipe, and of all recipes together.

    Trainings of several recipes may end at the same time, each in a process of its own: so each
    writes a tag that no other writes, and what they come to together is added up from those.
    """
    taken = {
        tag: value
        for tag, value in ((GPU_HOURS, cost.gpu_hours), (COST, cost.money))
        if value is not None
    }
    recipe = _recipe(context)
    _add(
        context,
        _tags(context),
        {of_recipe(tag, recipe): _number(value) for tag, value in taken.items()},
    )
    before = _tags(context)
    _add(context, before, {tag: _number(_together(before, tag)) for tag in taken})


def tag_with_no_cost(context: dg.AssetExecutionContext) -> None:
    """Take back what the run says of a training that it did not do.

    A run that Dagster launched in the place of a failed one has all tags of that one, and finds the
    model which that one trained.
    """
    recipe = _recipe(context)
    inherited = _tags(context)
    taken = [tag for tag in (GPU_HOURS, COST) if of_recipe(tag, recipe) in inherited]
    _add(context, inherited, {of_recipe(tag, recipe): _number(0) for tag in taken})
    before = _tags(context)
    _add(context, before, {tag: _number(_together(before, tag)) for tag in taken})


def of_recipe(tag: str, recipe: str | None) -> str:
    """The tag of one recipe alone; None for the training block itself."""
    return f"{tag}.{recipe or DEFAULT}"


def _together(tags: Mapping[str, str], tag: str) -> float:
    return sum(float(value) for name, value in tags.items() if name.startswith(f"{tag}."))


def _recipe(context: dg.AssetExecutionContext) -> str | None:
    """Of the step's asset, whose key is ``PIPELINE/ASSET`` or ``PIPELINE/RECIPE/ASSET``."""
    return next(iter(context.asset_key.path[1:-1]), None)


def _tags(context: dg.AssetExecutionContext) -> Mapping[str, str]:
    """Those of now: other steps of the run have added theirs since this process read the run."""
    run = context.instance.get_run_by_id(context.run.run_id)
    return {} if run is None else run.tags


def _add(
    context: dg.AssetExecutionContext, before: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    new = {name: value for name, value in tags.items() if before.get(name) != value}
    if new:
        context.instance.add_run_tags(context.run.run_id, new)


def _number(value: float) -> str:
    """Without trailing zeros: tags are compared as text."""
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")
