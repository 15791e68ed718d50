"""Which of an artifact's files are its content, and their digest: the data version.

Reports, cards, metrics and signatures lie beside it and make it no other data.
"""

from __future__ import annotations

from collections.abc import Mapping

from ft_assets.provenance.digest import value_digest
from ft_assets.provenance.model_signature import MODEL_FOLDER

_ROWS, _EVAL_ROWS = "rows.jsonl", "eval_rows.jsonl"
_SIDES = ("held_out.jsonl", "train.jsonl")  # sorted


def content_digest(files: Mapping[str, str]) -> str | None:
    """The digest of what is content among an artifact's files, where reports and cards lie too.

    Of a model its folder, of a raw dataset its rows, of a split both sides; None for others.
    """
    model = {name: v for name, v in files.items() if name.startswith(f"{MODEL_FOLDER}/")}
    if model:
        names = sorted(name.removeprefix(f"{MODEL_FOLDER}/") for name in model)
        return value_digest([[name, files[f"{MODEL_FOLDER}/{name}"]] for name in names])
    if _ROWS in files:
        rows = [files[name] for name in (_ROWS, _EVAL_ROWS) if name in files]
        return rows[0] if len(rows) == 1 else value_digest(rows)
    if all(name in files for name in _SIDES):
        return value_digest([[name, files[name]] for name in _SIDES])
    return None
