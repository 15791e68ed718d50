"""Whether a pipeline's drops run one after the other, as each run builds on the one before."""

from __future__ import annotations

from ft_assets.config import Pipeline


def one_at_a_time(pipeline: Pipeline) -> bool:
    """Whether a drop's run has to wait until the run of the drop before it is over.

    With ``dataset.accumulate`` it reads the raw datasets of all drops before it. With
    ``start_from: champion``, of the training or of any recipe, it trains on from the model of the
    drop before it: runs at the same time would all start from the same model, and what each of them
    has learned would be lost to the others.
    """
    return pipeline.spec.dataset.accumulate or starts_from_champion(pipeline)


def starts_from_champion(pipeline: Pipeline) -> bool:
    """Whether the training, or that of any recipe, goes on from the registered version in force."""
    trainings = (one.spec.training for one in (pipeline, *pipeline.recipes()))
    return any(training.start_from == "champion" for training in trainings)
