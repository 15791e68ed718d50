"""The one line per asset that a person watches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ft_assets import progress
from ft_assets.cli.bars import bars, note
from tests.support.tiny_pipeline import NAME, clean_environment


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"phase": "start", "done": 0, "total": 0}, "start"),
        ({"phase": "done", "done": 1, "total": 1}, "done"),
        ({"phase": "tokenize", "done": 12, "total": 0}, "tokenize"),
        ({"phase": "train", "done": 3, "total": 12}, "train 3/12"),
        (
            {"phase": "train", "done": 3, "total": 12, "loss": 2.34567, "tokens_per_second": 99.9,
             "eta_seconds": 61.2},
            "train 3/12, loss 2.346, 100 tokens/s, 61 s left",
        ),
        (
            {"phase": "train", "done": 12, "total": 12, "loss": 1.0, "eta_seconds": 0.0},
            "train 12/12, loss 1.000",
        ),
    ],
)  # fmt: skip
def test_a_note_has_the_numbers_worth_watching(report, expected):
    assert note(report) == expected


def test_without_a_terminal_each_phase_is_a_line_at_its_start_and_at_its_end(capfd):
    with bars():
        for done in range(5):
            progress.report("finetuned_model", {"phase": "train", "done": done, "total": 4})
        progress.report("finetuned_model", {"phase": "done", "done": 1, "total": 1})
    assert capfd.readouterr().err.splitlines() == [
        "finetuned_model: train 0/4",
        "finetuned_model: train 4/4",
        "finetuned_model: done",
    ]


def test_nobody_listens_after_the_run(capfd):
    with bars():
        pass
    progress.report("finetuned_model", {"phase": "train", "done": 1, "total": 4})
    assert capfd.readouterr().err == ""


def test_a_listener_goes_even_when_the_run_fails():
    heard = []

    def fail_after_a_report():
        with progress.listening(lambda *report: heard.append(report)):
            progress.report("raw_dataset", {"phase": "start"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_a_report()
    progress.report("raw_dataset", {"phase": "done"})
    assert heard == [("raw_dataset", {"phase": "start"})]


def test_on_a_terminal_bars_are_drawn_while_steps_run(tiny):
    """Dagster replaces stderr by a log file while a step runs: the bars stay on the terminal."""
    terminal, command = os.openpty()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ft"), "run", NAME, "--select", "raw_dataset"],
        env=clean_environment({**tiny.environment, "TERM": "xterm", "COLUMNS": "100"}),
        stdout=subprocess.DEVNULL,
        stderr=command,
    )
    os.close(command)
    drawn = _all_of(terminal)
    assert process.wait() == 0
    assert "━" * 30 in drawn
    assert drawn.count("raw_dataset") > 1, "while it runs"
    assert re.search(r"raw_dataset.*done", drawn), "and at its end"


def _all_of(terminal: int) -> str:
    pieces: list[bytes] = []
    try:
        while piece := os.read(terminal, 4096):
            pieces.append(piece)
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(terminal)
    return b"".join(pieces).decode()
