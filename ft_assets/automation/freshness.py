"""When a pipeline's registered version is too old: freshness, in Dagster's own terms.

The daemon looks every 30 seconds, in every instance where ``freshness.enabled`` is not false.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from ft_assets.config import Pipeline


def freshness_of(pipeline: Pipeline) -> dg.FreshnessPolicy | None:
    """The policy of ``registered_version``; None where the pipeline names no age.

    Each materialization counts, of whichever drop: also one that found its version up to date. A
    model that lost materializes nothing, so that a pipeline whose models all lose ages as one that
    does not run.
    """
    hours = pipeline.spec.automation.max_age_hours
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours)) if hours else None
