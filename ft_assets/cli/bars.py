"""Progress bars of a run: one line per asset, with the numbers of the training as they come."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ft_assets import progress
from ft_assets.cli.output import stderr


@contextmanager
def bars() -> Generator[None]:
    """Draw bars on stderr while the block runs; plain lines where there is no terminal."""
    if not stderr.is_terminal:
        with progress.listening(_Lines()):
            yield
        return
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr) as display, progress.listening(_Bars(display)):
        yield


class _Bars:
    def __init__(self, display: Progress) -> None:
        self._display = display
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, asset: str, report: Mapping[str, Any]) -> None:
        if asset not in self._tasks:
            self._tasks[asset] = self._display.add_task(asset, total=None, note="")
        total = report["total"] or None
        self._display.update(
            self._tasks[asset], completed=report["done"], total=total, note=note(report)
        )


class _Lines:
    """One line per phase: for logs and pipes."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, asset: str, report: Mapping[str, Any]) -> None:
        finished = report["total"] and report["done"] >= report["total"]
        state = f"{report['phase']}{' done' if finished else ''}"
        if (asset, state) not in self._seen:
            self._seen.add((asset, state))
            stderr.print(f"{asset}: {note(report)}", markup=False, highlight=False)


def note(report: Mapping[str, Any]) -> str:
    """The phase and the numbers worth watching."""
    if report["phase"] in ("start", "done"):
        return str(report["phase"])
    of = f" {report['done']:g}/{report['total']:g}" if report["total"] else ""
    parts = [f"{report['phase']}{of}"]
    if "loss" in report:
        parts.append(f"loss {report['loss']:.3f}")
    if "tokens_per_second" in report:
        parts.append(f"{report['tokens_per_second']:.0f} tokens/s")
    if report.get("eta_seconds"):
        parts.append(f"{report['eta_seconds']:.0f} s left")
    return ", ".join(parts)
