"""The ``dataset`` block: where the rows come from and how they are divided."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter
from resources.errors import UserError
from resources.sources import parse_uri

PARTITION = "{partition}"


class SourceConfig(Block):
    """Where the rows come from. Read by ``raw_dataset``."""

    uri: str = parameter(
        description=(
            "Where the dataset lies: hf://name[:config][@revision], s3://bucket/key-or-prefix, "
            "https://..., pvc://path, package://PACKAGE/FILE, an absolute path, or a path relative "
            "to the pipeline file. {partition} stands for the data drop."
        ),
        seed=("phase_01_dataset_man_data_uri",),
        min_length=1,
    )
    on_bad_rows: Literal["fail", "drop"] = parameter(
        "fail",
        "What a row that cannot be used does: fail the run, or be dropped, counted and kept beside "
        "the dataset with its reason.",
    )
    max_bad_rows: int = parameter(
        1000, "With on_bad_rows: drop, more bad rows than this fail the run after all.", ge=0
    )

    @field_validator("uri")
    @classmethod
    def _one_placeholder(cls, uri: str) -> str:
        if not uri.strip():
            raise ValueError("is blank: name a dataset")
        if uri.count(PARTITION) > 1:
            raise ValueError("holds {partition} more than once: one drop has one place")
        rest = uri.replace(PARTITION, "")
        if "{" in rest or "}" in rest:
            raise ValueError("holds a brace that is not {partition}, the only placeholder")
        try:
            parse_uri(uri.replace(PARTITION, "drop"))
        except UserError as error:
            raise ValueError(str(error)) from None
        return uri


class SplitConfig(Block):
    """How the rows are divided. Read by ``split_dataset``."""

    split: float = parameter(
        0.9,
        "Share of the rows that is trained on, above 0 and up to 1; the rest is held out and "
        "measures the model. 1.0 means no held-out set.",
        seed=("phase_01_dataset_man_data_split",),
        gt=0.0,
        le=1.0,
    )
    subset: int = parameter(
        0,
        "Number of rows to use, sampled uniformly by hash and seed; 0 uses all.",
        seed=("phase_01_dataset_opt_subset",),
        ge=0,
    )
    seed: int = parameter(42, "Seed of the split and of the subset.", ge=0, le=2**32 - 1)
    near_duplicates: float = parameter(
        0.8,
        "Similarity (Jaccard, word 3-grams) from which a training row counts as nearly equal to a "
        "held-out row and is dropped from training; 0 switches this off.",
        ge=0.0,
        le=1.0,
    )


class DatasetConfig(SourceConfig, SplitConfig):
    """Where the rows come from and how they are divided."""

    not_taken: ClassVar[dict[str, str]] = {
        "phase_01_dataset_opt_hf_token": (
            "a token is never written into a pipeline file: put it into the environment variable "
            "HF_TOKEN and leave this out"
        )
    }

    @model_validator(mode="after")
    def _subset_leaves_something_to_hold_out(self) -> DatasetConfig:
        if self.subset == 1 and self.split < 1.0:
            raise ValueError("subset: 1 cannot be split in two: raise subset or set split: 1.0")
        return self
