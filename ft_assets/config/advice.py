"""What a valid pipeline may still not mean, in words.

Belongs here: combinations of parameters that work, and that most people would not want. What cannot
work is refused where the parameters stand.
"""

from __future__ import annotations

from ft_assets.config.pipeline import PipelineSpec


def advice(spec: PipelineSpec) -> list[str]:
    """One sentence for each thing that should be looked at before the pipeline runs by itself."""
    found = [_measured_with_what_arrives(spec)] if spec.automation.enabled else []
    return [sentence for sentence in found if sentence]


def _measured_with_what_arrives(spec: PipelineSpec) -> str | None:
    """A drop that is wrong as a whole is wrong in its held-out rows too, and wins on them."""
    if not spec.partitioned or spec.dataset.eval_uri is not None or spec.evaluation.tasks:
        return None
    return (
        "automation.enabled trains on every new drop, and each is measured with rows of its own "
        "alone: a drop that is wrong as a whole can win. Set dataset.eval_uri to rows that do not "
        "come with the drops, or evaluation.tasks"
    )
