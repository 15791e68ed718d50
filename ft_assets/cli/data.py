"""``ft data``: looking at the rows as the model will see them."""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from typing import Any

from rich.console import Console
from rich.text import Text

from ft_assets.cli.output import show
from ft_assets.code_location import default_resources
from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.home import Home
from resources.store import Artifact, ArtifactStore

_TRAINED, _CONTEXT = "black on green", "dim"


def preview(pipeline: Pipeline, partition: str | None, row: int, *, as_json: bool) -> None:
    """Show one training row as tokens, trained ones in green.

    Raises:
        UserError: the split was not made yet, or has no such row.
    """
    artifact = _split(pipeline, partition)
    report: Any = artifact.manifest.metadata["report"]
    rows = int(report["train_rows"])
    if not 1 <= row <= rows:
        raise UserError(f"--row {row}: the training side has rows 1 to {rows}")
    row_id, tokens = _tokens(pipeline, artifact, row)
    trained = sum(is_trained for _, _, is_trained in tokens)
    result = {
        "pipeline": pipeline.label,
        "partition": partition,
        "row": row,
        "id": row_id,
        "tokens": [
            {"text": text, "id": token, "trained": is_trained} for text, token, is_trained in tokens
        ],
        "trained_tokens": trained,
    }

    def draw(console: Console) -> None:
        console.print(
            f"row {row} of {rows}, {row_id[:12]}: {len(tokens)} tokens, {trained} trained on "
            "(green)",
            highlight=False,
        )
        drawn = Text()
        for text, _, is_trained in tokens:
            drawn.append(text.replace("\n", "↵\n"), _TRAINED if is_trained else _CONTEXT)
        console.print(drawn)

    show(result, draw, as_json=as_json)


def _split(pipeline: Pipeline, partition: str | None) -> Artifact:
    store: ArtifactStore = default_resources()["store"]
    name = pipeline.spec.name
    artifact = store.find(pipeline.spec.key("split_dataset"), partition)
    if artifact is None:
        drop = f" --partition {partition}" if partition else ""
        raise UserError(
            f"{name} has no split_dataset yet: make it with ft run {name}{drop} "
            "--select raw_dataset,split_dataset"
        )
    return artifact


def _tokens(
    pipeline: Pipeline, split: Artifact, row: int
) -> tuple[str, list[tuple[str, int, bool]]]:
    from transformers import AutoTokenizer

    from ft_assets.training.base_folder import prepare
    from ft_assets.training.base_model import locate
    from ft_assets.training.plan import mask_policy
    from ft_assets.training.token_report import pieces, preview_rows

    home: Home = default_resources()["home"]
    training = pipeline.spec.training
    base = locate(
        training.base_model,
        folder=pipeline.folder,
        models=home.models,
        chat_template=training.chat_template,
        hf_token_env=training.hf_token_env,
        special_tokens=training.special_tokens,
    )
    folder = prepare(base, home.models)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    ((row_id, encoded),) = preview_rows(
        split.file("train.jsonl"),
        tokenizer,
        max_seq_len=training.max_seq_len,
        policy=mask_policy(training),
        first=row,
        count=1,
    )
    return row_id, pieces(tokenizer, encoded)
