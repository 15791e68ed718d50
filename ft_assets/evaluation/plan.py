"""What one evaluation is to do: the file that the worker reads.

Belongs here: the plan's fields and everything about them that can be refused without loading a
model. Does not belong here: how any of it is done.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ft_assets.evaluation.arguments import check_model_args, normal_gen_kwargs
from resources.errors import UserError
from resources.record import Record

if TYPE_CHECKING:
    from pathlib import Path

HELD_OUT = "held_out"
"""The name of the task over the held-out split, in samples, progress and results."""

Backend = Literal["auto", "hf", "vllm"]
Verbosity = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"the model name {name!r} must consist of letters, digits, '.', '_' and '-': it names "
            "a folder"
        )
    return name


def _checked_batch(batch: str) -> str:
    if batch != "auto" and not re.fullmatch(r"[1-9][0-9]*", batch):
        raise UserError(f"the evaluation's batch must be 'auto' or a number from 1 up: {batch!r}")
    return batch


def _checked_limit(limit: int) -> int:
    if limit == 0 or limit < -1:
        raise UserError(
            f"the evaluation's limit must be -1 (all documents) or a number from 1 up, not {limit}"
        )
    return limit


class ModelUnderTest(Record):
    """One model to score."""

    name: Annotated[str, AfterValidator(_checked_name)]
    """``base``, ``tuned`` or another short name; the others are compared with ``base``."""
    path: str
    """Local folder in the Hugging Face layout: config, safetensors weights and tokenizer."""
    digest: str = ""
    """Of what stands in the folder: the artifact's data version, or the base model's digest."""


class EvaluationPlan(Record):
    """All that one evaluation needs. Writing it and reading it back gives the same plan.

    Raises:
        UserError: a value that can never work, with the remedy.
    """

    models: list[ModelUnderTest] = Field(min_length=1)
    held_out: str | None = None
    """File of the held-out split: one ``{"id", "messages"}`` per line."""
    tasks: list[str] = Field(default_factory=list)
    """lm-eval tasks, groups or tags to run beside the held-out one."""
    include_path: str | None = None
    """Folder with task YAML files of one's own; they win over lm-eval's."""
    batch: Annotated[str, AfterValidator(_checked_batch)] = "auto"
    """Rows per forward pass, or ``auto``."""
    gen_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Generation arguments; they override those of every task that generates text."""
    limit: Annotated[int, AfterValidator(_checked_limit)] = -1
    """Documents of each task to use, the first ones; -1 for all. A limit makes results partial."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Solved examples in front of each question of the lm-eval tasks; the task's own when None."""
    held_out_generations: int = Field(default=0, ge=0)
    """Held-out rows for which the last answer is generated and scored; the same for every model."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Tokens that such an answer has at most."""
    leave_out: str | None = None
    """File of row ids, one per line, that the held-out task does not ask."""
    backend: Backend = "auto"
    """What runs the models: ``hf``, ``vllm``, or by the kind of request."""
    cache: str | None = None
    """Folder of the answers of earlier evaluations, which are not asked again."""
    log_samples: bool = True
    """Keep the texts (prompt, reference, answer) beside the scores of each document."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of lm-eval's model."""
    allow_model_args: list[str] = Field(default_factory=list)
    """Those of them that are refused unless they are named here, such as trust_remote_code."""
    verbosity: Verbosity = "INFO"
    """What goes into the log file; DEBUG also shows it, and all progress bars, on stderr."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of few-shot examples and of sampling."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=list[int])
    """Further seeds: tasks that depend on the seed run once for each, and metrics are means."""
    max_length: int | None = Field(default=None, ge=2)
    """Tokens that the model sees at most; the model's own limit when None."""
    output_dir: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.tasks and self.held_out is None:
            raise UserError(
                "nothing to evaluate: name at least one task, or keep a held-out split "
                "(train_split_ratio below 1)"
            )
        _refuse_twice("model", [model.name for model in self.models])
        _refuse_twice("task", self.tasks)
        if len({self.seed, *self.seeds}) <= len(self.seeds):
            raise UserError(
                f"the seeds {[self.seed, *self.seeds]} name one twice: remove it from seeds"
            )
        if HELD_OUT in self.tasks:
            raise UserError(f"the task name {HELD_OUT!r} is taken: rename the task")
        check_model_args(self.model_args, self.allow_model_args, self.backend)
        normal_gen_kwargs(self.gen_kwargs)
        if self.gen_kwargs and not self.tasks:
            raise UserError("gen_kwargs has no effect without tasks: remove it or name a task")
        return self

    @property
    def all_seeds(self) -> list[int]:
        """The seed and the further ones."""
        return [self.seed, *self.seeds]

    @property
    def documents(self) -> int | None:
        """How many documents of each task are used; None for all."""
        return None if self.limit == -1 else self.limit

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> EvaluationPlan:
        """Read a plan from its JSON file.

        Raises:
            UserError: the file is missing or does not hold a valid plan.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(f"cannot read the evaluation plan {path}: {error.strerror}") from error
        except ValidationError as error:
            raise UserError(f"evaluation plan {path}: {_first(error)}") from error


def _refuse_twice(what: str, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"the {what} {twice!r} is named twice: remove one of them")


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    value = "" if problem["type"] == "missing" else f" (it is {str(problem['input'])[:80]!r})"
    return f"{where}: {problem['msg']}{value}"
