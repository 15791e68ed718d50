"""Progress bars of a run: one line per asset, with the numbers of the training as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ft_assets import progress


@contextmanager
def bars() -> Generator[None]:
    """Draw bars on stderr while the block runs; plain lines where there is no terminal."""
    sys.stderr.flush()
    # While a step runs, Dagster puts its log file in the place of stderr: keep the one of now.
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as kept:
        console = Console(file=kept)
        with _drawn(console) if console.is_terminal else progress.listening(_Lines(console)):
            yield


@contextmanager
def _drawn(console: Console) -> Generator[None]:
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as display, progress.listening(_Bars(display)):
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

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, asset: str, report: Mapping[str, Any]) -> None:
        finished = report["total"] and report["done"] >= report["total"]
        state = f"{report['phase']}{' done' if finished else ''}"
        if (asset, state) not in self._seen:
            self._seen.add((asset, state))
            line = f"{asset}: {note(report)}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


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
