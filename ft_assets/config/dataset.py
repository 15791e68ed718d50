"""The ``dataset`` block: where the rows come from and how they are divided."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter
from ft_assets.config.roles import ROLES
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
    eval_uri: str | None = parameter(
        None,
        "A held-out set of your own, in the same formats and named as uri is: all rows of uri are "
        "then trained on, but those that equal or nearly equal one of its rows.",
    )
    format: Literal["auto", "chat", "instruction", "input_output", "completion", "tokens"] = (
        parameter(
            "auto",
            "Format of the rows: chat (messages, conversations), instruction (alpaca, question and "
            "answer, prompt and completion), input_output (segments), completion (text), tokens "
            "(input_ids, labels); auto tells by the keys of each row.",
        )
    )
    field_messages: str | None = parameter(
        None, "Key of the turns where it is neither messages nor conversations (axolotl's name)."
    )
    message_property_mappings: dict[str, str] = parameter(
        {},
        "The dataset's names of a turn's keys, such as {role: from, content: value} (axolotl's "
        "name).",
    )
    roles: dict[str, list[str]] = parameter(
        {},
        "Per role (system, user, assistant, tool) further names that mean it, such as "
        "{assistant: [bot]} (axolotl's name).",
    )
    split_thinking: bool = parameter(
        False,
        "Move what an answer holds between <think> and </think> to reasoning_content, which the "
        "chat template shows in its own way (axolotl's name).",
    )
    on_bad_rows: Literal["fail", "drop"] = parameter(
        "fail",
        "What a row that cannot be used does: fail the run, or be dropped, counted and kept beside "
        "the dataset with its reason.",
    )
    max_bad_rows: int = parameter(
        1000, "With on_bad_rows: drop, more bad rows than this fail the run after all.", ge=0
    )

    sensitive: Literal["ignore", "warn", "drop", "redact"] = parameter(
        "ignore",
        "What becomes of keys, tokens, passwords in URLs and mail addresses in the rows: they are "
        "not looked for, are counted with a warning, have their rows dropped (these never fail the "
        "run), or are replaced by the names of their rules, such as <EMAIL_ADDRESS>.",
    )

    @field_validator("uri", "eval_uri")
    @classmethod
    def _address(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
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

    @field_validator("message_property_mappings")
    @classmethod
    def _mapped(cls, mappings: dict[str, str]) -> dict[str, str]:
        unknown = [name for name in mappings if name not in ("role", "content")]
        if unknown:
            raise ValueError(f"{unknown[0]!r} cannot be mapped: role and content can")
        return mappings

    @field_validator("roles")
    @classmethod
    def _roles(cls, roles: dict[str, list[str]]) -> dict[str, list[str]]:
        unknown = [name for name in roles if name not in ROLES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no role: there are {', '.join(ROLES)}")
        return roles


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
    accumulate: bool = parameter(
        False,
        "Whether a drop is trained on together with all drops before it, in natural order of "
        "names. A row's side stays the same, so that no held-out row ever moves into training.",
    )
    duplicates: Literal["drop", "keep"] = parameter(
        "drop", "What becomes of rows that equal an earlier row in every character."
    )
    near_duplicates: float = parameter(
        0.8,
        "Similarity (Jaccard, word 3-grams) from which a training row counts as nearly equal to a "
        "held-out row and is dropped from training; 0 switches this off.",
        ge=0.0,
        le=1.0,
    )
    near_duplicates_in_training: Literal["keep", "drop"] = parameter(
        "keep",
        "What becomes of training rows that nearly equal an earlier training row, at the "
        "similarity of near_duplicates: drop keeps one row of each cluster.",
    )
    group_by: str | None = parameter(
        None,
        "Key of the rows (a conversation, a document, a user): all rows with one value are on one "
        "side of the split.",
    )
    stratify_by: str | None = parameter(
        None,
        "Key of the rows (a language, a task): the report shows the sides of each value, and warns "
        "of one without held-out rows.",
    )
    on_contamination: Literal["drop", "fail", "report", "ignore"] = parameter(
        "drop",
        "What becomes of training rows that hold a question of the pipeline's own evaluation "
        "tasks, or a held-out row as a whole: drop them, fail the run, report them alone, or do "
        "not look.",
    )
    contamination: float = parameter(
        0.7,
        "Share of a question's word n-grams in a row from which the row counts as holding the "
        "question.",
        gt=0.0,
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
    def _own_held_out_set_fits(self) -> DatasetConfig:
        if self.eval_uri is not None and PARTITION in self.eval_uri and PARTITION not in self.uri:
            raise ValueError("eval_uri holds {partition} and uri does not: there are no drops")
        if self.near_duplicates_in_training == "drop" and self.near_duplicates == 0:
            raise ValueError(
                "near_duplicates_in_training: drop needs a similarity: near_duplicates is 0"
            )
        return self

    @model_validator(mode="after")
    def _accumulates_drops(self) -> DatasetConfig:
        if self.accumulate and PARTITION not in self.uri:
            raise ValueError(
                "accumulate: true needs drops to add up: put {partition} into uri, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _subset_leaves_something_to_hold_out(self) -> DatasetConfig:
        if self.subset == 1 and self.split < 1.0 and self.eval_uri is None:
            raise ValueError("subset: 1 cannot be split in two: raise subset or set split: 1.0")
        return self
