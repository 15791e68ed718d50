"""What a manifest, of this release or another, says about where its artifact comes from.

Read leniently: unknown fields are left out and absent ones have a value that says so. Belongs here:
reading. Does not belong here: writing (``record.py``) and judging (``origin_links.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field

from ft_assets.provenance.statement import base_model_of, sources_of
from ft_assets.training.base_model import BaseModelRef
from resources.record import Record


class _Read(Record):
    model_config = ConfigDict(extra="ignore")


class RecordedInput(_Read):
    """An artifact that another was made from."""

    asset: str
    digest: str
    data_version: str
    partition: str | None = None

    def partition_beside(self, own: str | None) -> str | None:
        """Its partition; that of what was made from it where a former release did not say."""
        return self.partition if "partition" in self.model_fields_set else own


class RecordedCode(_Read):
    """The code that made it."""

    digest: str = ""
    commit: str | None = None


class RecordedBuilder(_Read):
    """Where it was made."""

    image: str | None = None


class RecordedMaking(_Read):
    """How it was made."""

    code_version: str = ""
    config: dict[str, Any]
    config_digest: str = ""
    spec_digest: str = ""
    inputs: list[RecordedInput]
    python: str = ""
    platform: str = ""
    builder: RecordedBuilder = RecordedBuilder()
    code: RecordedCode = RecordedCode()
    packages: dict[str, str] = Field(default_factory=dict)


class RecordedFile(_Read):
    """One file that was read from outside."""

    name: str
    sha256: str


class RecordedSource(_Read):
    """A place outside from which files were read."""

    uri: str
    revision: str | None = None
    files: list[RecordedFile]


class RecordedTasks(_Read):
    """The pipeline's own evaluation tasks."""

    folder: str
    digest: str


class Recorded(_Read):
    """All of it."""

    making: RecordedMaking | None
    """None: no pipeline of ours made it."""
    base_model: BaseModelRef | None
    sources: list[RecordedSource]
    own_tasks: RecordedTasks | None = None
    """None: it asked no tasks of the pipeline's own, or a former release did not say."""
    evaluated: str | None
    """Data version of the model that a report is about."""


def recorded(manifest: Mapping[str, Any]) -> Recorded:
    """Read it from a manifest's JSON.

    Raises:
        pydantic.ValidationError: it has another form than any release gave it.
    """
    metadata = manifest["metadata"]
    return Recorded.model_validate(
        {
            "making": metadata.get("provenance"),
            "base_model": base_model_of(manifest),
            "sources": sources_of(manifest),
            "own_tasks": metadata.get("own_tasks"),
            "evaluated": metadata.get("model_data_version"),
        }
    )
