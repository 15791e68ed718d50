"""The ``evaluation`` block: what ``eval_report`` measures."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

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
        "registered.",
        seed=("phase_03_eval_opt_limit",),
        ge=-1,
    )
    log_samples: bool = parameter(
        True, "Keep each sample with its scores.", seed=("phase_03_eval_opt_log_samples",)
    )
    model_args: dict[str, Any] = parameter(
        {},
        "Further arguments of lm-eval's model (dtype, ...).",
        seed=("phase_03_eval_opt_model_args",),
    )
    verbosity: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = parameter(
        "INFO", "Log level of the evaluation.", seed=("phase_03_eval_opt_verbosity",)
    )
    seed: int = parameter(42, "Seed of few-shot sampling and generation.", ge=0, le=2**32 - 1)

    @field_validator("batch", mode="before")
    @classmethod
    def _auto_or_rows(cls, batch: Any) -> str:
        text = str(batch)
        if text != "auto" and not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise ValueError(f"is {text!r}: set auto or a whole number from 1")
        return text

    @field_validator("limit")
    @classmethod
    def _not_zero(cls, limit: int) -> int:
        if limit == 0:
            raise ValueError("is 0: set -1 for all examples or a number from 1")
        return limit
