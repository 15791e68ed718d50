"""One document as one model answered it: what the court compares and the report shows.

Every task, the held-out one too, leaves a file ``samples/<model>/<task>.jsonl`` with one
:class:`Sample` per line, in the order of the documents. The same document has the same ``id``
whatever the model, so that models are compared document by document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
from pydantic import Field, ValidationError

from resources.errors import UserError
from resources.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Sample(Record):
    """What one model scored on one document."""

    id: str
    """Of the document: the row's id in the held-out task, else its place and digest."""
    metrics: dict[str, float | None] = Field(default_factory=dict)
    """Scores whose mean over the documents is the result; null: there is no finite one."""
    ratios: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    """Scores that are a sum over a sum: ``loss`` is nats over tokens, ``token_accuracy`` hits
    over tokens; null: the sum is no finite number."""
    skipped: str | None = None
    """Why nothing was scored."""
    prompt: str | None = None
    reference: str | None = None
    answer: str | None = None


def samples_name(task: str) -> str:
    """The name of a task's file of samples."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', task)}.jsonl"


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write one sample per line; the file appears when it is complete."""
    private = path.with_name(f"{path.name}.tmp")
    with private.open("wb") as file:
        for sample in samples:
            file.write(orjson.dumps(sample.model_dump(exclude_none=False)) + b"\n")
    private.replace(path)


def read_samples(path: Path) -> Iterator[Sample]:
    """Read a file of samples, one at a time.

    Raises:
        UserError: the file is missing or a line of it is no sample.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield Sample.model_validate_json(line)
                except ValidationError as error:
                    raise UserError(
                        f"{path}, line {number}: this is no sample of an evaluation "
                        f"({error.errors(include_url=False)[0]['msg']}): evaluate again"
                    ) from error
    except OSError as error:
        raise UserError(f"cannot read the samples {path}: {error.strerror}") from error
