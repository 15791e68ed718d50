"""The tokens of a run: made by the process that trains, or once for several that train together."""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ft_assets.training.in_process.settings import Settings
from ft_assets.training.in_process.tokens import TokenFile, tokenize
from ft_assets.training.token_rows import TokenCounts
from resources.errors import UserError

FOLDER = "tokens"
_COUNTS = "counts.json"
_HELD_OUT = "tokens-held-out"


def token_counts(settings: Settings, tokenizer: Any) -> TokenCounts:
    """Make the tokens; where several processes train, read what :func:`write_tokens` counted."""
    if settings.world.size == 1:
        return _tokenized(settings, tokenizer)
    return TokenCounts(**json.loads((settings.run_dir / FOLDER / _COUNTS).read_text()))


def write_tokens(settings: Settings) -> None:
    """Make the tokens of training and held-out rows, before several processes read them.

    Raises:
        UserError: there is nothing to train on, or nothing to measure.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(settings.model_path, local_files_only=True)
    counts = _tokenized(settings, tokenizer)
    held_out_rows(settings, tokenizer)
    (settings.run_dir / FOLDER / _COUNTS).write_text(json.dumps(asdict(counts)))


def held_out_rows(settings: Settings, tokenizer: Any) -> TokenFile | None:
    """The first ``validation_rows`` held-out rows as tokens; None where nothing is measured.

    Raises:
        UserError: none of them can be measured.
    """
    if not settings.validation_steps:
        return None
    if settings.held_out_path is None:
        raise UserError(
            f"training.validation_steps ({settings.validation_steps}) measures held-out rows and "
            "there are none: set 0"
        )
    if settings.world.size > 1:
        return TokenFile(settings.run_dir / _HELD_OUT)  # made before the processes were started
    first = settings.run_dir / "held-out.jsonl"
    with Path(settings.held_out_path).open("rb") as source, first.open("wb") as target:
        target.writelines(islice(source, settings.validation_rows))
    try:
        tokenize(
            first,
            settings.run_dir / _HELD_OUT,
            tokenizer,
            settings.max_seq_len,
            settings.policy,
            report=settings.report,
        )
    except UserError as error:
        raise UserError(
            f"the first {settings.validation_rows} held-out rows (training.validation_rows) cannot "
            f"be measured: {error}"
        ) from error
    return TokenFile(settings.run_dir / _HELD_OUT)


def _tokenized(settings: Settings, tokenizer: Any) -> TokenCounts:
    return tokenize(
        Path(settings.data_path),
        settings.run_dir / FOLDER,
        tokenizer,
        settings.max_seq_len,
        settings.policy,
        report=settings.report,
    )
