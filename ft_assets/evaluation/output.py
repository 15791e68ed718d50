"""The folder that an evaluation writes: results, samples, progress, log, or the error.

``results.json`` and every file of samples appear whole or not at all; what an earlier evaluation
left in the folder is removed before anything is written.
"""

from __future__ import annotations

import logging
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from ft_assets.evaluation.samples import samples_name, write_samples
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ft_assets.evaluation.samples import Sample
    from ft_assets.evaluation.summary import EvaluationSummary
    from resources.launcher.child import Reporter

RESULTS = "results.json"
ERROR = "error.json"
PROGRESS = "progress.jsonl"
SAMPLES = "samples"
LM_EVAL_SAMPLES = ".lm_eval.jsonl"
"""Ends the name of a file with lm-eval's own samples of a task: requests, responses, document."""
LOG = "evaluation.log"

_EVERY = 1.0  # seconds between two lines of progress
_SAMPLE_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_log = logging.getLogger(__name__)


class OutputFolder:
    """Writes into one folder, which this evaluation has to itself."""

    def __init__(self, path: Path, report: Reporter | None = None) -> None:
        self.path = path
        self._report = report
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in (RESULTS, ERROR, PROGRESS, LOG):
                (path / name).unlink(missing_ok=True)
            if (path / SAMPLES).exists():
                shutil.rmtree(path / SAMPLES)
        except OSError as error:
            raise UserError(f"output_dir {path} cannot be written: {error.strerror}") from error

    @property
    def log(self) -> Path:
        """The log file."""
        return self.path / LOG

    def progress(self, model: str, done: int, total: int, message: str) -> None:
        """Append one line: ``done`` of ``total`` documents of this model are scored."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "model": model,
            "done": done,
            "total": total,
            "message": message,
        }
        with (self.path / PROGRESS).open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
        if self._report is not None:
            self._report(f"evaluate {model}", done, total, doing=message)

    def samples(self, model: str, task: str, samples: Iterable[Sample]) -> None:
        """Write ``samples/<model>/<task>.jsonl``: one document per line."""
        write_samples(self._samples_folder(model) / samples_name(task), samples)

    def lm_eval_samples(self, model: str, task: str, samples: Iterable[Any]) -> None:
        """Write lm-eval's own samples beside; NaN becomes null, other objects their text."""
        name = samples_name(task).removesuffix(".jsonl") + LM_EVAL_SAMPLES
        target = self._samples_folder(model) / name
        private = target.with_name(f"{name}.tmp")
        with private.open("wb") as file:
            for sample in samples:
                file.write(orjson.dumps(sample, default=str, option=_SAMPLE_OPTIONS) + b"\n")
        private.replace(target)

    def results(self, summary: EvaluationSummary) -> None:
        """Write ``results.json``, the last act of an evaluation."""
        self._write(RESULTS, summary.model_dump_json(indent=2).encode() + b"\n")

    def error(self, message: str) -> None:
        """Write ``error.json``: why there are no results."""
        self._write(ERROR, orjson.dumps({"message": message}) + b"\n")

    def _samples_folder(self, model: str) -> Path:
        folder = self.path / SAMPLES / model
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _write(self, name: str, content: bytes) -> None:
        private = self.path / f"{name}.tmp"
        private.write_bytes(content)
        private.replace(self.path / name)


class Progress:
    """Counts the scored documents of one model; says so at most once per second, and in the log."""

    def __init__(self, output: OutputFolder, model: str, total: int) -> None:
        self._output, self._model, self._total = output, model, total
        self._done = 0
        self._said = time.monotonic()

    def add(self, count: int, message: str) -> None:
        """``count`` more documents are scored."""
        self._done += count
        if time.monotonic() - self._said >= _EVERY:
            self.say(message)

    def say(self, message: str) -> None:
        """Write a line now."""
        self._said = time.monotonic()
        _log.info("%s: %s, %d of %d documents", self._model, message, self._done, self._total)
        self._output.progress(self._model, self._done, self._total, message)
