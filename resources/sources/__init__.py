"""How dataset files are reached: one file per scheme, and the Dagster resource over them."""

from __future__ import annotations

from resources.sources.files import SUFFIXES, Fetched, SourceFile, SourceUnavailableError
from resources.sources.partitions import is_partition_key, substitute
from resources.sources.resource import Sources
from resources.sources.uri import SourceUri, parse_uri, redact

__all__ = [
    "SUFFIXES",
    "Fetched",
    "SourceFile",
    "SourceUnavailableError",
    "SourceUri",
    "Sources",
    "is_partition_key",
    "parse_uri",
    "redact",
    "substitute",
]
