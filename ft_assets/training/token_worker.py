"""Reports on tokens: ``python -m ft_assets.training.token_worker FOLDER/plan.json``.

Writes ``tokens.json`` and ``preview.html`` beside the plan. Needs the base model's tokenizer and no
GPU.
"""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false
import sys
from pathlib import Path
from typing import Any

from ft_assets.training.base_folder import prepare, refuse_longer_rows
from ft_assets.training.base_model import BaseModelRef
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.token_report import count_tokens, preview_page, preview_rows
from resources.launcher.child import Reporter, leave, run_worker
from resources.record import Record

REPORT_FILE = "tokens.json"
PREVIEW_FILE = "preview.html"
_PREVIEWED = 8


class TokenPlan(Record):
    """Which rows, as tokens of which model."""

    title: str
    base_model: BaseModelRef
    models_dir: str
    train_file: str
    mask: MaskPolicy
    max_seq_len: int
    effective_batch_size: int
    num_epochs: int


def work(plan_file: Path, report: Reporter) -> None:
    """Carry out the plan."""
    from transformers import AutoTokenizer

    plan = TokenPlan.model_validate_json(plan_file.read_text())
    report("base model", 0, 1)
    base = prepare(plan.base_model, Path(plan.models_dir))
    refuse_longer_rows(plan.base_model, base, plan.max_seq_len)
    report("base model", 1, 1)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
    train_file = Path(plan.train_file)
    counted = count_tokens(
        train_file,
        tokenizer,
        max_seq_len=plan.max_seq_len,
        policy=plan.mask,
        effective_batch_size=plan.effective_batch_size,
        num_epochs=plan.num_epochs,
        report=report,
    )
    shown = preview_rows(
        train_file,
        tokenizer,
        max_seq_len=plan.max_seq_len,
        policy=plan.mask,
        first=1,
        count=_PREVIEWED,
    )
    (plan_file.parent / PREVIEW_FILE).write_text(preview_page(plan.title, tokenizer, shown))
    (plan_file.parent / REPORT_FILE).write_text(counted.model_dump_json(indent=1))
    report("tokenize", counted.rows, counted.rows)


if __name__ == "__main__":
    leave(run_worker(work, sys.argv[1:]))
