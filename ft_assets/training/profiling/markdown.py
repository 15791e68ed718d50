"""A profile's summary as Markdown, for the page of an asset."""

from __future__ import annotations

from collections.abc import Sequence

from ft_assets.training.profiling.summary import ProfileSummary

_OPERATORS = 8


def summary_markdown(summary: ProfileSummary) -> str:
    """Remedies, kinds of work and the first operators, as tables."""
    numbers = {
        "GPU use": _share(summary.gpu_use),
        "gaps": _share(summary.idle.share),
        "copies and fills": _share(summary.memory_operations),
        "fragmentation": _share(summary.memory.fragmentation),
        "peak of tensors": _mib(summary.memory.peak_allocated_mib),
        "peak of the process": _mib(summary.memory.peak_resident_mib),
    }
    parts = [
        _table(
            ["found", "parameter", "what to do"],
            [[r.finding, f"`training.{r.parameter}`", r.advice] for r in summary.remedies],
        ),
        _table(["number", "value"], [[name, value] for name, value in numbers.items() if value]),
        _table(
            ["kind of work", "share", "ms"],
            [
                [part.category, f"{part.share:.1%}", f"{part.seconds * 1000:.2f}"]
                for part in summary.categories
            ],
        ),
        _table(
            ["kernel" if summary.device == "gpu" else "operator", "share", "calls"],
            [
                [f"`{_cell(operator.name)}`", f"{operator.share:.1%}", str(operator.calls)]
                for operator in summary.operators[:_OPERATORS]
            ],
        ),
    ]
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(name: str) -> str:
    """A name that comes from a file: it must not end the cell or the code in it."""
    return name[:80].replace("`", "'").replace("|", "/")


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _mib(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} MiB"
