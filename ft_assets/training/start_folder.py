"""The folder of a model that was trained here earlier, as a model to load and train on.

Belongs here: what its files say of it. Does not belong here: which model that is (``start.py``),
and the models that people name (``base_model.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ft_assets.training.base_model import BaseModelRef, amended_digest


def known_folder(
    path: Path, digest: str, *, hf_token_env: str, special_tokens: Mapping[str, str]
) -> BaseModelRef:
    """A model in a folder whose digest is known, such as one that was trained here earlier.

    Args:
        path: the folder; it has a chat template of its own.
        digest: of its files.
        hf_token_env: environment variable with the hub token.
        special_tokens: those to set in place of its own.
    """
    tokens = dict(special_tokens)
    return BaseModelRef(
        name=str(path),
        kind="folder",
        location=str(path),
        digest=amended_digest(digest, None, tokens),
        special_tokens=tokens,
        hf_token_env=hf_token_env,
    )


def own_special_tokens(folder: Path) -> dict[str, str]:
    """The special tokens that a model's folder names: ``pad_token`` and the like."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        file = folder / name
        said: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        for key, token in said.items():
            text = (
                cast("dict[str, Any]", token).get("content") if isinstance(token, dict) else token
            )
            if key.endswith("_token") and isinstance(text, str):
                found[key] = text
    return found
