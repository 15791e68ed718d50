"""Reading a base model's shapes: from its folder, from the hub's file headers, or from a GGUF file.

No weight is read: a safetensors file begins with a JSON table of its tensors, and a GGUF file with
one of its own.
"""

from __future__ import annotations

# gguf and huggingface_hub have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ft_assets.training.base_model import BaseModelRef, gated, prepared_path
from ft_assets.training.estimate.architecture import Architecture, Shape, architecture
from resources.errors import UserError

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""The limit of the safetensors format itself."""

_GGUF_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output.weight": "lm_head.weight",
    "output_norm.weight": "model.norm.weight",
}
_GGUF_LAYER = re.compile(r"blk\.(\d+)\.(.+)\.(weight|bias)")
_GGUF_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def read_architecture(ref: BaseModelRef, models: Path) -> Architecture:
    """The shapes of a located base model.

    Args:
        ref: what ``base_model.locate`` found.
        models: where prepared models are kept; a prepared one needs no hub.

    Raises:
        UserError: a file is damaged, or the hub gives no headers.
    """
    folder = prepared_path(ref, models)
    if folder is None and ref.kind == "folder":
        folder = Path(ref.location)
    if folder is not None:
        return read_folder(ref.name, folder)
    return _read_gguf(ref) if ref.kind == "gguf" else _read_hub(ref)


def read_folder(name: str, folder: Path) -> Architecture:
    """The shapes of a model folder: ``config.json`` and the headers of its safetensors files."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return architecture(name, config, folder_headers(folder))


def folder_headers(folder: Path) -> list[tuple[str, str, Shape]]:
    """Name, dtype and shape of each tensor in a folder's safetensors files.

    Raises:
        UserError: a file is damaged.
    """
    return [
        tensor
        for file in sorted(folder.glob("*.safetensors"))
        for tensor in safetensors_header(file)
    ]


def safetensors_header(file: Path) -> Iterator[tuple[str, str, Shape]]:
    """Name, dtype and shape of each tensor in a file, from its header alone.

    Raises:
        UserError: it is no safetensors file, or is not as long as its header says.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        if not 0 < length <= _LONGEST_HEADER:
            raise _damaged(file, "it is no safetensors file")
        try:
            header: dict[str, Any] = json.loads(opened.read(length))
        except ValueError as error:
            raise _damaged(file, "its header is cut or damaged") from error
    header.pop("__metadata__", None)
    end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    expected = _LENGTH_BYTES + length + end
    if file.stat().st_size != expected:
        raise _damaged(file, f"it has {file.stat().st_size} bytes and should have {expected}")
    for name, tensor in header.items():
        yield name, str(tensor["dtype"]), tuple(tensor["shape"])


def _damaged(file: Path, why: str) -> UserError:
    return UserError(f"training.base_model: {file}: {why}: fetch the model again")


def _read_gguf(ref: BaseModelRef) -> Architecture:
    """The shapes of a GGUF file, under the names that its prepared folder will have.

    Those are Llama's; other architectures' names are only like them.
    """
    from gguf import GGUFReader

    reader = GGUFReader(ref.location)

    def field(key: str) -> Any:
        found = reader.get_field(f"{kind}.{key}")
        return found.contents() if found is not None else None

    general = reader.get_field("general.architecture")
    kind = str(general.contents()) if general is not None else ""
    # GGUF counts dimensions from the innermost one.
    tensors = [
        (_gguf_name(tensor.name), "F32", tuple(int(size) for size in reversed(tensor.shape)))
        for tensor in reader.tensors
    ]
    names = {name: shape for name, _, shape in tensors}
    embedding = names.get("model.embed_tokens.weight")
    config = {
        "model_type": kind,
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"),
        "head_dim": field("attention.key_length"),
        "vocab_size": embedding[0] if embedding else field("vocab_size"),
        "tie_word_embeddings": "lm_head.weight" not in names,
    }
    kept = [tensor for tensor in tensors if not tensor[0].startswith("rope_freqs")]
    return architecture(ref.name, config, kept).model_copy(update={"names_known": False})


def _gguf_name(name: str) -> str:
    if match := _GGUF_LAYER.fullmatch(name):
        layer, part, kind = match.groups()
        return f"model.layers.{layer}.{_GGUF_PARTS.get(part, part)}.{kind}"
    return _GGUF_NAMES.get(name, name)


def _read_hub(ref: BaseModelRef) -> Architecture:
    """The shapes of a model on the hub: its config and the first bytes of each weight file."""
    import httpx2
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        NotASafetensorsRepoError,
        OfflineModeIsEnabled,
        SafetensorsParsingError,
    )

    endpoint = os.environ.get("HF_ENDPOINT") or None
    token = os.environ.get(ref.hf_token_env) or False
    try:
        with TemporaryDirectory() as folder:
            file = hf_hub_download(
                ref.location,
                "config.json",
                revision=ref.revision,
                endpoint=endpoint,
                token=token,
                local_dir=folder,
            )
            config: dict[str, Any] = json.loads(Path(file).read_text())
        metadata = HfApi(endpoint=endpoint, token=token).get_safetensors_metadata(
            ref.location, revision=ref.revision
        )
    except GatedRepoError as error:
        raise gated(ref.name, ref.hf_token_env) from error
    except (
        HfHubHTTPError,
        NotASafetensorsRepoError,
        SafetensorsParsingError,
        OfflineModeIsEnabled,
        httpx2.TransportError,
        OSError,
    ) as error:
        raise UserError(
            f"training.base_model: {ref.name}: its shapes could not be read from the hub "
            f"({type(error).__name__}): check the network or HF_ENDPOINT, or name a folder"
        ) from error
    tensors = [
        (name, str(tensor.dtype), tuple(tensor.shape))
        for file in metadata.files_metadata.values()
        for name, tensor in file.tensors.items()
    ]
    return architecture(ref.name, config, tensors)
