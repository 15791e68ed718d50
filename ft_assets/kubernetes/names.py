"""Labels by which the platform's objects are found in a cluster."""

from __future__ import annotations

MANAGED = {"app.kubernetes.io/managed-by": "ft-assets"}
"""On everything that the platform creates."""


def labels_of(pipeline: str, asset: str, recipe: str | None = None) -> dict[str, str]:
    """Labels of the job and the pod of a step; Dagster adds ``dagster/run-id``."""
    labels = {**MANAGED, "ft-assets/pipeline": pipeline, "ft-assets/asset": asset}
    return labels if recipe is None else {**labels, "ft-assets/recipe": recipe}
