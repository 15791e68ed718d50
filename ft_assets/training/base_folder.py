"""Bringing a base model into one form: a folder that every backend loads.

A normal Hugging Face one: config.json, safetensors weights, tokenizer and a chat template. It is
made once per digest, in the child process. Pickled weights are refused and no code of the model's
repository is ever run.
"""

from __future__ import annotations

# transformers and huggingface_hub have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from ft_assets.training.base_model import (
    MODEL_FILES,
    RECORD,
    BaseModelRef,
    folder_name,
    gated,
    is_used_in_place,
    prepared_path,
)
from resources.errors import UserError


def prepare(ref: BaseModelRef, models: Path) -> Path:
    """The folder of a base model, made if it is not there yet. Concurrent makers do no harm.

    Raises:
        UserError: it cannot be fetched or loaded, or has no chat template and none is given.
    """
    if is_used_in_place(ref):
        path = Path(ref.location)
        _refuse_without_template(ref, path)
        _refuse_without_pad_token(ref, path)
        return path
    ready = prepared_path(ref, models)
    if ready is not None:
        return ready
    final = models / folder_name(ref.kind, ref.location, ref.digest)
    staging = models / f".staging-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        _fill(ref, staging)
        _refuse_without_template(ref, staging)
        _refuse_without_pad_token(ref, staging)
        (staging / RECORD).write_text(ref.model_dump_json(indent=1))
        try:
            staging.rename(final)
        except OSError:
            if prepared_path(ref, models) is None:  # it was not somebody else who was faster
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final


def refuse_longer_rows(ref: BaseModelRef, folder: Path, max_seq_len: int) -> None:
    """Refuse rows that are longer than what the base model was made for.

    Raises:
        UserError: ``max_seq_len`` is above ``max_position_embeddings`` of its config.json.
    """
    config = json.loads((folder / "config.json").read_text())
    limit = config.get("max_position_embeddings") or config.get("text_config", {}).get(
        "max_position_embeddings"
    )
    if limit is not None and max_seq_len > limit:
        raise UserError(
            f"training.max_seq_len ({max_seq_len}) is above the {limit} positions that {ref.name} "
            f"has: lower it to {limit}"
        )


def _fill(ref: BaseModelRef, staging: Path) -> None:
    if ref.kind == "gguf":
        _from_gguf(ref, staging)
    elif ref.kind == "hub":
        _from_hub(ref, staging)
    else:
        for pattern in MODEL_FILES:
            for file in Path(ref.location).glob(pattern):
                shutil.copy2(file, staging / file.name)
    if ref.chat_template is not None:
        _set_template(staging, ref.chat_template)
    if ref.special_tokens:
        _set_special_tokens(ref, staging)


def _from_gguf(ref: BaseModelRef, staging: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    file = Path(ref.location)
    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **source)
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        **source,
    )
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)


def _from_hub(ref: BaseModelRef, staging: Path) -> None:
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        snapshot_download(
            ref.location,
            revision=ref.revision,
            local_dir=staging,
            allow_patterns=list(MODEL_FILES),
            endpoint=os.environ.get("HF_ENDPOINT") or None,
            token=os.environ.get(ref.hf_token_env) or False,
        )
    except GatedRepoError as error:
        raise gated(ref.name, ref.hf_token_env) from error
    except (HfHubHTTPError, httpx2.TransportError, OSError) as error:
        raise UserError(
            f"training.base_model: {ref.name} could not be downloaded ({_why(error)})"
        ) from error
    shutil.rmtree(staging / ".cache", ignore_errors=True)


def _why(error: Exception) -> str:
    """Without the text of an HTTP error, which shows signed addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"{type(error).__name__}, status {status}" if status else type(error).__name__


def _set_template(folder: Path, template: str) -> None:
    if _has_template(folder):
        return  # the model's own template is the one it was trained with
    (folder / "chat_template.jinja").write_text(template)


def _refuse_without_template(ref: BaseModelRef, folder: Path) -> None:
    if not _has_template(folder):
        raise UserError(
            f"training.base_model: {ref.name} has no chat template: set training.chat_template to "
            "a name (chatml) or to Jinja text"
        )


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists():
        return True
    config = folder / "tokenizer_config.json"
    return config.exists() and bool(json.loads(config.read_text()).get("chat_template"))


def _set_special_tokens(ref: BaseModelRef, folder: Path) -> None:
    """Set them in the tokenizer and, as ids, where the model's own files name them."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    for name, token in ref.special_tokens.items():
        if token not in vocabulary:
            raise UserError(
                f"training.special_tokens: {name}: {token!r} is not in the vocabulary of "
                f"{ref.name}: name a token that it has, such as {tokenizer.eos_token!r}"
            )
        setattr(tokenizer, name, token)
    tokenizer.save_pretrained(folder)
    for file in (folder / "config.json", folder / "generation_config.json"):
        if file.exists():
            config = json.loads(file.read_text())
            config |= {
                f"{name}_id": vocabulary[token] for name, token in ref.special_tokens.items()
            }
            file.write_text(json.dumps(config, indent=2))


def _refuse_without_pad_token(ref: BaseModelRef, folder: Path) -> None:
    """Without one, batches and generation take another token for padding, or fail late."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        if file.exists() and json.loads(file.read_text()).get("pad_token"):
            return
    raise UserError(
        f"training.base_model: {ref.name} has no pad token: set training.special_tokens to "
        "{pad_token: TOKEN} with a token of its vocabulary that no row holds; its end token will do"
    )
