"""The ``evaluation`` block: what ``eval_report`` measures."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter


class EvaluationConfig(Block):
    """What is measured, beside the held-out rows, which always are when there are any."""

    tasks: list[str] = parameter(
        ["arc_easy"],
        "lm-eval tasks by name (arc_easy, mmlu, gsm8k, ...), from the hub or from include_path.",
        seed=("phase_03_eval_man_tasks", "phase_03_eval_man_eval_tasks"),
    )
    include_path: str | None = parameter(
        None, "Folder with lm-eval task YAMLs; relative to the pipeline file."
    )
    batch: str = parameter(
        "auto",
        "Evaluation batch size: auto, or a number of rows.",
        seed=("phase_03_eval_opt_batch",),
    )
    gen_kwargs: dict[str, Any] = parameter(
        {},
        "Arguments of generation (max_gen_toks, temperature, ...).",
        seed=("phase_03_eval_opt_gen_kwargs",),
    )
    limit: int = parameter(
        -1,
        "Examples per task; -1 is all. With a limit the report is marked partial and nothing is "
        "registered, unless a person overrules the court.",
        seed=("phase_03_eval_opt_limit",),
        ge=-1,
    )
    num_fewshot: int | None = parameter(
        None,
        "Solved examples in front of each question of the lm-eval tasks; empty is each task's own "
        "number.",
        ge=0,
    )
    held_out_generations: int = parameter(
        32,
        "Held-out rows for which the last answer is generated and scored (exact match, ROUGE-L, "
        "chrF); 0 is none. The rows are chosen by their ids, the same for every model.",
        ge=0,
    )
    max_new_tokens: int = parameter(
        128,
        "Tokens that the answer to a held-out row has at most. An answer more than twice as long "
        "as the reference is stopped too.",
        ge=1,
    )
    backend: Literal["auto", "hf", "vllm"] = parameter(
        "auto",
        "What runs the models: hf (transformers), vllm for generated texts (must be installed: its "
        "build for GPUs, or for the CPU), or auto: vllm where it is installed and there is a GPU. "
        "The report says which it was.",
    )
    log_samples: bool = parameter(
        True,
        "Keep the texts of each sample (prompt, reference, answer) beside its scores, which are "
        "always kept.",
        seed=("phase_03_eval_opt_log_samples",),
    )
    model_args: dict[str, Any] = parameter(
        {},
        "Further arguments of lm-eval's model (dtype, ...).",
        seed=("phase_03_eval_opt_model_args",),
    )
    allow_model_args: list[str] = parameter(
        [],
        "Model arguments that are refused unless they are named here, because they run code of the "
        "model or change what is evaluated: trust_remote_code, subfolder, variant, ...",
    )
    verbosity: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = parameter(
        "INFO", "Log level of the evaluation.", seed=("phase_03_eval_opt_verbosity",)
    )
    seed: int = parameter(42, "Seed of few-shot sampling and generation.", ge=0, le=2**32 - 1)
    seeds: list[int] = parameter(
        [],
        "Further seeds: tasks that draw few-shot examples or sample their answers run once for "
        "each, and their metrics are means.",
    )

    @field_validator("batch", mode="before")
    @classmethod
    def _auto_or_rows(cls, batch: Any) -> str:
        text = str(batch)
        if text != "auto" and not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise ValueError(f"is {text!r}: set auto or a whole number from 1")
        return text

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        for seed in self.seeds:
            if not 0 <= seed < 2**32:
                raise ValueError(f"seeds holds {seed}: a seed is a whole number from 0 to 2**32-1")
        if len({self.seed, *self.seeds}) <= len(self.seeds):
            raise ValueError(
                f"seed {self.seed} and seeds {self.seeds} name one twice: seeds are further ones"
            )
        return self

    @field_validator("limit")
    @classmethod
    def _not_zero(cls, limit: int) -> int:
        if limit == 0:
            raise ValueError("is 0: set -1 for all examples or a number from 1")
        return limit
