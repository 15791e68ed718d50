"""The base of what is written in files and messages and read again.

Not here: the blocks of a pipeline file (``ft_assets.config.block``), whose errors a user reads.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Plain data that does not change, and that refuses a key it does not know."""

    model_config = ConfigDict(
        frozen=True,
        defer_build=True,  # most are never used in a process that loads the code location
        extra="forbid",
        protected_namespaces=(),  # base models are what much of it is about: model_path is a name
    )
