"""All that changed between two registered versions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ft_assets.comparing.behind import behind
from ft_assets.comparing.data import DataChange, data_change
from ft_assets.comparing.making import base_model_changes, code_changes
from ft_assets.comparing.metrics import MetricChange, metric_changes, primary_metric
from ft_assets.comparing.parameters import ParameterChange, parameter_changes
from ft_assets.comparing.sentence import sentence
from ft_assets.config.recipes import DEFAULT

if TYPE_CHECKING:
    from ft_assets.comparing.behind import Behind
    from ft_assets.comparing.change import Change
    from resources.registry import RegisteredVersion
    from resources.store import ArtifactStore


@dataclass(frozen=True)
class VersionComparison:
    """Two versions: scores, and what may have changed them."""

    old: Behind
    new: Behind
    changed: str
    """One sentence: what changed most plainly."""
    metrics: list[MetricChange]
    """All that were measured, changed or not."""
    data: DataChange
    parameters: list[ParameterChange]
    base_model: list[Change]
    code: list[Change]
    unknown: list[str]
    """What is not known any more, one sentence each."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "old": _identity(self.old),
            "new": _identity(self.new),
            "changed": self.changed,
            "metrics": [{**asdict(one), "difference": one.difference} for one in self.metrics],
            "data": {name: value for name, value in asdict(self.data).items() if name != "unknown"},
            "parameters": [asdict(one) for one in self.parameters],
            "base_model": [asdict(one) for one in self.base_model],
            "code": [asdict(one) for one in self.code],
            "unknown": self.unknown,
        }


def compare_versions(
    old: RegisteredVersion, new: RegisteredVersion, store: ArtifactStore
) -> VersionComparison:
    """Compare two registered versions by the records behind them.

    What is no longer kept is said in ``unknown``, and the registry's own properties take its place
    as far as they go. Reads manifests, and the rows of both splits where they differ.

    Args:
        old: the version that differences start from.
        new: the other one; it may be of another model (of another recipe, say).
        store: where the artifacts are.
    """
    before, after = behind(old, store), behind(new, store)
    metrics = metric_changes(before, after)
    data = data_change(before, after)
    parameters = parameter_changes(before, after)
    base_model = base_model_changes(before, after)
    code = code_changes(before, after)
    decided = primary_metric(after)
    return VersionComparison(
        old=before,
        new=after,
        changed=sentence(
            recipes=(_recipe(before), _recipe(after)),
            data=data,
            parameters=parameters,
            base_model=base_model,
            code=code,
            metric=next((one for one in metrics if one.metric == decided), None),
        ),
        metrics=metrics,
        data=data,
        parameters=parameters,
        base_model=base_model,
        code=code,
        unknown=[*before.lost, *after.lost, *data.unknown],
    )


def _recipe(one: Behind) -> str:
    return str(one.said("recipe") or DEFAULT)


def _identity(one: Behind) -> dict[str, Any]:
    version = one.version
    return {
        "model": version.model,
        "version": version.version,
        "stage": version.stage,
        "drop": one.partition,
        "recipe": _recipe(one),
        "registered_at": version.created_at,
        "digest": version.artifact.digest,
    }
