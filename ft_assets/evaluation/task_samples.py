"""From lm-eval's own samples to those that are kept: one per document, the same for all models.

Belongs here: ids, per-document metrics and texts. Does not belong here: running lm-eval.
"""

# lm-eval is typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import numbers
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ft_assets.evaluation.samples import Sample
from ft_assets.evaluation.summary import metric_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lm_eval.api.task import Task

_DIGEST = 16  # characters of a document's digest in its id


@dataclass
class _Document:
    values: dict[str, list[float]] = field(
        default_factory=lambda: defaultdict[str, list[float]](list)
    )
    ratios: dict[str, tuple[float | None, float | None]] = field(
        default_factory=dict[str, tuple[float | None, float | None]]
    )
    texts: dict[str, str | None] = field(default_factory=dict[str, str | None])


class DocumentScores:
    """Collects what one model scored on the documents of one task, over all seeds.

    Args:
        task: for how it aggregates, and for the choices of its documents.
        texts: whether prompt, reference and answer are kept, those of the first seed.
    """

    def __init__(self, task: Task, *, texts: bool) -> None:
        self._task: Any = task
        self._texts = texts
        self._documents: dict[str, _Document] = defaultdict(_Document)

    def add(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Take lm-eval's samples of one run: one per document and filter."""
        for sample in samples:
            document = self._documents[document_id(sample)]
            for metric in sample["metrics"]:
                name = metric_name(f"{metric},{sample['filter']}")
                self._take(document, name, metric, sample[metric])
            if self._texts and not document.texts:
                document.texts = _texts(sample)

    def samples(self) -> list[Sample]:
        """One sample per document, in the order of the documents; metrics are means over seeds."""
        return [
            Sample(
                id=name,
                metrics={metric: _mean(values) for metric, values in document.values.items()},
                ratios=document.ratios,
                **document.texts,
            )
            for name, document in self._documents.items()
        ]

    def _take(self, document: _Document, name: str, metric: str, value: Any) -> None:
        """A metric counts document by document only where the result is their mean or ratio."""
        aggregation = self._task.aggregation().get(metric)
        if _is_mean(aggregation) and isinstance(value, numbers.Real):
            document.values.setdefault(name, []).append(float(value))
        elif aggregation is not None and (pair := _nats(aggregation, value)) is not None:
            document.ratios[name] = pair


def document_id(sample: Mapping[str, Any]) -> str:
    """Names a document whatever the model and the run: its place and the digest of its content."""
    return f"{sample['doc_id']}-{sample['doc_hash'][:_DIGEST]}"


def _is_mean(aggregation: Callable[..., Any] | None) -> bool:
    """lm-eval takes the mean where a task names no aggregation."""
    import numpy as np
    from lm_eval.api.metrics import mean, nanmean

    return aggregation is None or aggregation in (mean, nanmean, np.mean)


def _nats(aggregation: Callable[..., Any], value: Any) -> tuple[float, float] | None:
    """Perplexities as what they are the exponential of: nats over words, bytes or documents.

    The ratio of ``bits_per_byte`` is the result itself.
    """
    from lm_eval.api import metrics

    if aggregation is metrics.perplexity and isinstance(value, numbers.Real):
        return -float(value), 1.0
    if aggregation is metrics.weighted_perplexity and isinstance(value, tuple):
        return -float(value[0]), float(value[1])
    if aggregation is metrics.bits_per_byte and isinstance(value, tuple):
        return -float(value[0]) / math.log(2), float(value[1])
    return None


def _mean(values: list[float]) -> float | None:
    value = math.fsum(values) / len(values)
    return value if math.isfinite(value) else None


def _texts(sample: Mapping[str, Any]) -> dict[str, str | None]:
    """What was asked, what would be right and what the model said or chose."""
    arguments: list[tuple[Any, ...]] = sample["arguments"]
    responses: list[Any] = [replies[0] for replies in sample["resps"]]
    prompt, target = str(arguments[0][0]), sample["target"]
    if isinstance(responses[0], str):
        return {"prompt": prompt, "reference": _joined(target), "answer": responses[0]}
    if len(arguments) == 1:
        return {"prompt": prompt, "reference": _joined(target), "answer": None}
    contexts = [str(given[0]) for given in arguments]
    endings = [str(given[1]) for given in arguments]
    # Where the contexts differ, they are the choice, and all have one ending (winogrande).
    choices = endings if len(set(contexts)) < len(contexts) else contexts
    best = max(range(len(choices)), key=lambda place: responses[place][0])
    return {
        "prompt": prompt if choices is endings else None,
        "reference": choices[target].strip() if _is_place(target, choices) else _joined(target),
        "answer": choices[best].strip(),
    }


def _is_place(target: Any, choices: list[str]) -> bool:
    return isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(choices)


def _joined(target: Any) -> str:
    return "\n".join(map(str, target)) if isinstance(target, list | tuple) else str(target)
