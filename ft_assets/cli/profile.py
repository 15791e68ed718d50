"""``ft profile``: where the time and the memory of recorded steps went."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ft_assets.cli.output import show
from ft_assets.training.profiling.summary import ProfileSummary, summarize

_NUMBER = "right"


def show_profile(path: Path, *, as_json: bool) -> None:
    """Print the summary of the profile that ``path`` names.

    Raises:
        UserError: there is no profile, or it is damaged.
    """
    summary = summarize(path)

    def draw(console: Console) -> None:
        for table in (_overview(summary), _categories(summary), _operators(summary)):
            console.print(table)
        console.print(_remedies(summary))

    show(summary.model_dump(mode="json"), draw, as_json=as_json)


def _overview(summary: ProfileSummary) -> Table:
    table = Table(title=Text(summary.trace, overflow="fold"), show_header=False)
    table.add_column()
    table.add_column(justify=_NUMBER)
    between = "kernels" if summary.device == "gpu" else "operators"
    memory = summary.memory
    rows = {
        "device": summary.device,
        "optimizer steps": summary.steps,
        "recorded": f"{summary.window_seconds:.3f} s",
        "GPU use": _share(summary.gpu_use),
        f"gaps between {between}": (
            f"{_share(summary.idle.share)}, longest {_milli(summary.idle.longest_seconds)}"
        ),
        "copies and fills": _share(summary.memory_operations),
        "copied to the GPU": _milli(summary.copies.h2d) if summary.device == "gpu" else None,
        "copied from the GPU": _milli(summary.copies.d2h) if summary.device == "gpu" else None,
        "kernels shorter than 10 µs": _share(summary.small_kernels),
        "peak of tensors": _mib(memory.peak_allocated_mib),
        "peak of reserved memory": _mib(memory.peak_reserved_mib),
        "peak of the process": _mib(memory.peak_resident_mib),
        "fragmentation": _share(memory.fragmentation),
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, str(value))
    return table


def _categories(summary: ProfileSummary) -> Table:
    table = Table("kind of work", title="time by kind of work")
    for header in ("time", "share", "calls"):
        table.add_column(header, justify=_NUMBER)
    for part in summary.categories:
        table.add_row(part.category, _milli(part.seconds), _share(part.share), str(part.calls))
    return table


def _operators(summary: ProfileSummary) -> Table:
    title = "top kernels" if summary.device == "gpu" else "top operators by own time"
    table = Table("name", "kind of work", title=title)
    for header in ("time", "share", "calls"):
        table.add_column(header, justify=_NUMBER)
    for operator in summary.operators:
        table.add_row(
            Text(operator.name, overflow="ellipsis", no_wrap=True),
            operator.category,
            _milli(operator.seconds),
            _share(operator.share),
            str(operator.calls),
        )
    return table


def _remedies(summary: ProfileSummary) -> Table:
    table = Table("what was found", "parameter", "what to do", title="what to change")
    for remedy in summary.remedies:
        table.add_row(
            Text(remedy.finding, "bold" if remedy.beyond_threshold else ""),
            f"training.{remedy.parameter}",
            remedy.advice,
        )
    return table


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _milli(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _mib(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} MiB"
