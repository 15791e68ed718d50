"""Where an asset comes from, in words: metadata for the UI.

Dagster knows data versions and keeps only a hash of partitioned inputs; a person wants to read
which data, which base model and which configuration stand behind a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ft_assets.provenance.record import InputRecord

SHORT = 12
"""Characters of a digest that people are shown."""


def lineage_metadata(
    *, inputs: Sequence[InputRecord], spec_digest: str, uri: str, digest: str
) -> dict[str, Any]:
    """Metadata that every asset of a pipeline has."""
    metadata: dict[str, Any] = {
        "artifact": dg.PathMetadataValue(uri) if uri.startswith("/") else uri,
        "digest": digest[:SHORT],
        "spec": spec_digest[:SHORT],
    }
    if inputs:
        metadata["made_from"] = table(
            [
                {
                    "asset": item.asset,
                    "data version": item.data_version[:SHORT],
                    "artifact": item.uri,
                }
                for item in inputs
            ]
        )
    return metadata


def table(rows: Sequence[Mapping[str, str | int | float | bool | None]]) -> dg.TableMetadataValue:
    """A table of rows that have the same columns."""
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema=_schema(rows))


def _schema(rows: Sequence[Mapping[str, object]]) -> dg.TableSchema:
    first: Mapping[str, object] = rows[0] if rows else {}
    return dg.TableSchema(
        [dg.TableColumn(name, _column_type(value)) for name, value in first.items()]
    )


def _column_type(value: object) -> str:
    return type(value).__name__ if isinstance(value, bool | int | float) else "string"
