"""The shape of a base model: its tensors and the few numbers of its config that matter here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, cast

from resources.errors import UserError
from resources.record import Record

Shape = tuple[int, ...]

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_HEAD = ("lm_head.weight", "embed_out.weight")
_EMBEDDING = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
)
_WIDE = ("intermediate_size", "n_inner", "ffn_dim")
_OTHER_EMBEDDING = ("wpe.weight", "embed_positions.weight")
_MATRIX = 2
_PACKED_DTYPES = {"U8", "I8", "I32", "F4", "F8_E4M3", "F8_E5M2", "F8_E8M0"}


class NotEstimatedError(UserError):
    """A model of a kind that may well be trained, and whose memory is not known beforehand."""


class Architecture(Record):
    """A causal language model as tensors with names and shapes."""

    name: str
    """How the base model is named."""
    model_type: str
    kinds: tuple[str, ...] = ()
    """Its model type and the names of its classes; see :func:`kinds_of`."""
    hidden_size: int
    intermediate_size: int
    """Width of the feed-forward part; of one expert, where there are experts."""
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    """Whether the output layer is the embedding."""
    experts: int = 0
    experts_per_token: int = 0
    bytes_per_parameter: float
    """As the weights are published."""
    tensors: tuple[tuple[str, Shape], ...]
    """Every parameter once; a tied output layer is no parameter."""
    names_known: bool = True
    """Whether the tensors have the names of the loaded model, or only ones that are like them."""

    @cached_property
    def parameters(self) -> int:
        """Parameters of the model, a tied output layer counted once."""
        return sum(math.prod(shape) for _, shape in self.tensors)

    @cached_property
    def largest_layer(self) -> int:
        """Parameters of the largest transformer layer."""
        sizes: dict[str, int] = {}
        for name, shape in self.tensors:
            if match := _LAYER.search(name):
                sizes[match[1]] = sizes.get(match[1], 0) + math.prod(shape)
        return max(sizes.values(), default=0)

    @cached_property
    def outside_layers(self) -> int:
        """Parameters that belong to no layer: embeddings, output layer, last norm."""
        return sum(math.prod(shape) for name, shape in self.tensors if not _LAYER.search(name))

    @cached_property
    def gated(self) -> bool:
        """Whether the feed-forward part has a gate (SwiGLU and its like)."""
        return any("gate_proj" in name or "gate_up_proj" in name for name, _ in self.tensors)

    def is_in_layer(self, name: str) -> bool:
        """Whether a tensor belongs to a transformer layer."""
        return _LAYER.search(name) is not None

    def is_head(self, name: str) -> bool:
        """Whether a tensor is the output layer: its own one, or the embedding when tied."""
        return name.endswith(_EMBEDDING if self.tied else _HEAD)

    def active(self, name: str, shape: Shape) -> float:
        """Parameters of a tensor that one token is multiplied with."""
        if len(shape) < _MATRIX or name.endswith(_OTHER_EMBEDDING):
            return 0.0
        if name.endswith(_EMBEDDING) and not self.tied:
            return 0.0  # rows are looked up
        if self.experts and ".experts." in name:
            return math.prod(shape) * self.experts_per_token / self.experts
        return float(math.prod(shape))


def architecture(
    name: str, config: Mapping[str, Any], tensors: Iterable[tuple[str, str, Shape]]
) -> Architecture:
    """A model from its ``config.json`` and the headers of its weights.

    Args:
        name: of the base model, for messages.
        config: ``config.json``.
        tensors: name, dtype in safetensors' words and shape of each stored tensor.

    Raises:
        NotEstimatedError: the config lacks a number, or the weights are stored quantized.
    """
    stored = sorted(tensors)
    tied = is_tied(config)
    for tensor, dtype, _ in stored:
        if dtype in _PACKED_DTYPES and tensor.endswith("weight"):
            raise NotEstimatedError(
                f"training.base_model: {name}: {tensor} is stored quantized ({dtype}), so that "
                "parameters cannot be counted: name the model's bf16 or fp32 weights"
            )
    kept = tuple(
        (tensor, shape)
        for tensor, _, shape in stored
        if not (tied and tensor.endswith(_HEAD)) and not tensor.endswith("rotary_emb.inv_freq")
    )
    count = sum(math.prod(shape) for _, _, shape in stored)
    size = sum(math.prod(shape) * _bytes_of(dtype) for _, dtype, shape in stored)
    return _from_numbers(name, config, kept, size / count if count else 4.0)


def architecture_of_config(name: str, config: Mapping[str, Any]) -> Architecture:
    """A Llama-like model (Llama, Mistral, Qwen2, Qwen3) from its ``config.json`` alone.

    For models whose weights are not at hand; the weights' own headers go before it.
    """
    dtype = str(_inner(config).get("torch_dtype") or _inner(config).get("dtype") or "float32")
    half = dtype.removeprefix("torch.") in ("bfloat16", "float16")
    return _from_numbers(name, config, tuple(llama_tensors(config)), 2.0 if half else 4.0)


def llama_tensors(config: Mapping[str, Any]) -> Iterable[tuple[str, Shape]]:
    """Names and shapes of a Llama-like model's parameters."""
    numbers = _from_numbers("", config, (), 4.0)
    hidden, inner = numbers.hidden_size, numbers.intermediate_size
    queries, keys = numbers.heads * numbers.head_dim, numbers.kv_heads * numbers.head_dim
    qwen2 = numbers.model_type == "qwen2"
    yield "model.embed_tokens.weight", (numbers.vocab_size, hidden)
    for layer in range(numbers.layers):
        at = f"model.layers.{layer}"
        for projection, rows in (("q", queries), ("k", keys), ("v", keys)):
            yield f"{at}.self_attn.{projection}_proj.weight", (rows, hidden)
            if qwen2 or _inner(config).get("attention_bias"):
                yield f"{at}.self_attn.{projection}_proj.bias", (rows,)
        yield f"{at}.self_attn.o_proj.weight", (hidden, queries)
        if numbers.model_type == "qwen3":
            yield f"{at}.self_attn.q_norm.weight", (numbers.head_dim,)
            yield f"{at}.self_attn.k_norm.weight", (numbers.head_dim,)
        yield f"{at}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{at}.mlp.up_proj.weight", (inner, hidden)
        yield f"{at}.mlp.down_proj.weight", (hidden, inner)
        yield f"{at}.input_layernorm.weight", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not numbers.tied:
        yield "lm_head.weight", (numbers.vocab_size, hidden)


def kinds_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a model is by its ``config.json``: model type and classes, the language model's first.

    The type comes before the classes: it is what transformers chooses the class by.
    """
    kinds = [
        str(kind)
        for part in (_inner(config), config)
        for kind in (part.get("model_type"), *(part.get("architectures") or ()))
        if kind
    ]
    return tuple(dict.fromkeys(kinds))


def linear_weights(tensors: Iterable[tuple[str, Shape]]) -> list[str]:
    """Names of the weights of linear layers: the matrices but for those that rows are read from."""
    return [
        name
        for name, shape in tensors
        if len(shape) == _MATRIX
        and name.endswith(".weight")
        and not name.endswith((*_EMBEDDING, *_OTHER_EMBEDDING))
    ]


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether the output layer is the embedding: transformers' default is yes."""
    return bool(_inner(config).get("tie_word_embeddings", config.get("tie_word_embeddings", True)))


def _from_numbers(
    name: str, config: Mapping[str, Any], tensors: tuple[tuple[str, Shape], ...], width: float
) -> Architecture:
    inner = _inner(config)
    hidden = _number(name, inner, "hidden_size", "n_embd", "d_model")
    heads = _number(name, inner, "num_attention_heads", "n_head", "num_heads")
    experts = _optional(inner, "num_local_experts", "num_experts", "n_routed_experts")
    return Architecture(
        name=name,
        model_type=str(inner.get("model_type") or config.get("model_type") or ""),
        kinds=kinds_of(config),
        hidden_size=hidden,
        intermediate_size=_optional(inner, "moe_intermediate_size" if experts else "", *_WIDE)
        or 4 * hidden,
        layers=_number(name, inner, "num_hidden_layers", "n_layer", "num_layers"),
        heads=heads,
        kv_heads=_optional(inner, "num_key_value_heads") or heads,
        head_dim=_optional(inner, "head_dim") or hidden // heads,
        vocab_size=_number(name, inner, "vocab_size"),
        tied=is_tied(config),
        experts=experts,
        experts_per_token=_optional(inner, "num_experts_per_tok"),
        bytes_per_parameter=width,
        tensors=tensors,
    )


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config; a vision model nests it."""
    text = config.get("text_config")
    return cast("Mapping[str, Any]", text) if isinstance(text, dict) else config


def _number(name: str, config: Mapping[str, Any], *names: str) -> int:
    found = _optional(config, *names)
    if not found:
        raise NotEstimatedError(
            f"training.base_model: {name}: its config.json has no {names[0]}: it is no causal "
            "language model that can be planned"
        )
    return found


def _optional(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _bytes_of(dtype: str) -> int:
    return {"F64": 8, "F32": 4, "I64": 8}.get(dtype, 2)
