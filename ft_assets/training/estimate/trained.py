"""Which parameters a run trains, and what it keeps of the others: SFT, OSFT and LoRA."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence

from ft_assets.config import TrainingConfig
from ft_assets.training.estimate.architecture import Architecture, Shape, linear_weights
from resources.errors import UserError
from resources.record import Record

_QKVO = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_LLAMA = (*_QKVO, "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj")
# mini-trainer 0.9's own table (osft_utils.MODEL_CONFIGS and MODEL_NAME_MAPPINGS): the first word
# that the name of the model's class holds decides; a test compares the two.
_OSFT_PATTERNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("llama", _LLAMA),
    (
        "gpt-j",
        ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"),
    ),
    (
        "gptj",
        ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"),
    ),
    *(
        (
            name,
            (
                "attn.attention.q_proj",
                "attn.attention.k_proj",
                "attn.attention.v_proj",
                "attn.attention.out_proj",
                "mlp.c_fc",
                "mlp.c_proj",
            ),
        )
        for name in ("gpt-neo", "gptneo")
    ),
    ("gpt-oss", _QKVO),
    ("opt", (*_QKVO[:3], "self_attn.out_proj", "fc1", "fc2")),
    *((name, (*_QKVO, "linear_attn.out_proj", *_LLAMA[4:])) for name in ("qwen3_5", "qwen3.5")),
    ("qwen", _LLAMA),
    ("gemma", _LLAMA),
    *(
        (name, ("self_attn.o_proj", "self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"))
        for name in ("phi4", "phi-4", "phi3", "phi-3")
    ),
    ("mistral", _LLAMA),
    ("granite", _LLAMA),
    ("gpt2", ("attn.c_proj", "attn.c_attn", "mlp.c_fc", "mlp.c_proj")),
)
_MATRIX = 2
_BEFORE_LAYERS = re.compile(r"^.*?(?=\b(?:layers|h|blocks)(?:\.|$))")
_SHOWN = 12


class Trained(Record):
    """Parameters of a run, in elements."""

    stored: int
    """Elements held as weights, trainable or not."""
    trainable: int
    """Elements that the optimizer moves."""
    low_rank: int = 0
    """OSFT: of these, the factors of the directions that may change."""
    beside: int = 0
    """OSFT on the CPU: the frozen part as whole matrices and the smaller bases, less the frozen
    factors that these stand in for, which wait in a file."""
    whole: int = 0
    """OSFT on the CPU: of ``beside``, the whole matrices, which a bf16 step has in bf16."""
    adapter: int = 0
    """LoRA: of these, the adapter."""
    quantizable: int = 0
    """LoRA: frozen elements of linear layers, which QLoRA packs."""
    kept_per_token: int = 0
    """Extra activations of one token over all layers, in elements: factors' inner products."""
    frozen_flops: float
    """Parameters that a token is multiplied with and that get no gradient."""
    trainable_flops: float
    """Parameters that a token is multiplied with and that get one."""
    projection_flops: float = 0.0
    """OSFT: per optimizer step, for keeping gradients and factors orthogonal to the frozen ones."""
    head_flops: float
    """Of all these, the output layer's."""

    @property
    def frozen(self) -> int:
        """Elements held as weights that do not move."""
        return self.stored - self.trainable

    def note(self) -> str:
        """In words, what is trained."""
        if self.low_rank:
            rest = self.trainable - self.low_rank
            return f"{self.low_rank:,} in low-rank factors and {rest:,} unconstrained"
        return f"the adapter; {self.frozen:,} are frozen" if self.adapter else "all weights"


def trained_parameters(model: Architecture, config: TrainingConfig) -> Trained:
    """What the algorithm of ``config`` trains of a model.

    Raises:
        UserError: OSFT would find no matrix by a pattern.
    """
    if config.algorithm == "osft":
        return _osft(model, config)
    if config.algorithm == "lora_sft":
        return _lora(model, config)
    return Trained(
        stored=model.parameters,
        trainable=model.parameters,
        frozen_flops=0.0,
        trainable_flops=sum(model.active(name, shape) for name, shape in model.tensors),
        head_flops=_head_flops(model),
    )


def osft_rank(shape: Shape, unfreeze_rank_ratio: float) -> tuple[int, int]:
    """Directions of a matrix that stay and that may change (mini-trainer's rounding)."""
    full = min(shape)
    high = min(math.floor(full * (1.0 - unfreeze_rank_ratio)), full - 1)
    return high, full - high


def osft_targets(model: Architecture, patterns: Sequence[str]) -> list[tuple[str, Shape]]:
    """The matrices that OSFT decomposes.

    Raises:
        UserError: see :func:`osft_patterns`.
    """
    linear = linear_weights(model.tensors) if model.names_known else ()
    chosen = osft_patterns(model.kinds, linear, patterns)
    return [
        (name, shape)
        for name, shape in model.tensors
        if len(shape) == _MATRIX and any(pattern in name for pattern in chosen)
    ]


def osft_patterns(
    kinds: Sequence[str], linear: Collection[str], named: Sequence[str] = ()
) -> tuple[str, ...]:
    """The parts of names by which OSFT finds its matrices.

    mini-trainer alone would look for the architecture in the folder's path, where any word may be.

    Args:
        kinds: of the model; see :func:`kinds_of`.
        linear: names of its linear weights; without them nothing is refused.
        named: ``training.target_patterns``; empty for those that mini-trainer has for the kind.

    Raises:
        UserError: a named pattern is in no name of a linear weight, or none of mini-trainer's is.
    """
    patterns = tuple(named) or _patterns_of(kinds)
    missing = [pattern for pattern in patterns if not any(_is_in(pattern, n) for n in linear)]
    if not linear or not missing:
        return patterns
    known = ", ".join(sorted({name.split(".")[-2] for name in linear})[:_SHOWN])
    if named:
        raise UserError(
            f"training.target_patterns: {missing[0]!r} is in no name of the base model's linear "
            f"weights; there are: {known}: name some of them, or leave it empty"
        )
    if len(missing) == len(patterns):
        raise UserError(
            f"training.target_patterns: none of mini-trainer's own patterns ({', '.join(patterns)})"
            f" is in a name of the base model's linear weights: name some of {known}"
        )
    return patterns


def _patterns_of(kinds: Sequence[str]) -> tuple[str, ...]:
    """By the first word of the table in one of the kinds."""
    for kind in kinds:
        for word, patterns in _OSFT_PATTERNS:
            if word in kind.lower():
                return patterns
    return _LLAMA


def _is_in(pattern: str, name: str) -> bool:
    """Whether a stored name holds a pattern; a file may leave out what comes before the layers."""
    return pattern in name or _BEFORE_LAYERS.sub("", pattern) in name


def _osft(model: Architecture, config: TrainingConfig) -> Trained:
    """W = U_high S_high V_high + U_low S_low V_low: the first frozen, the second trained."""
    targets = dict(osft_targets(model, config.target_patterns))
    high = low = kept = whole = beside = projection = 0
    for rows, columns in targets.values():
        rank_high, rank_low = osft_rank((rows, columns), config.unfreeze_rank_ratio)
        high += rank_high * (rows + columns + 1)
        low += rank_low * (rows + columns + 1)
        kept += 2 * rank_low
        whole += rows * columns
        for side in (rows, columns):
            if rank_high + rank_low == side and rank_low < rank_high:
                beside -= (rank_high - rank_low) * side
        # Gradient and factor, of U and V, each by two products with the frozen factor.
        projection += 8 * (rows + columns) * rank_high * rank_low
    others = [(name, shape) for name, shape in model.tensors if name not in targets]
    unconstrained = sum(math.prod(shape) for _, shape in others)
    return Trained(
        stored=high + low + unconstrained,
        trainable=low + unconstrained,
        low_rank=low,
        beside=whole + beside,
        whole=whole,
        kept_per_token=kept,
        projection_flops=projection,
        frozen_flops=high,
        trainable_flops=low + sum(model.active(name, shape) for name, shape in others),
        head_flops=_head_flops(model),
    )


def lora_targets(model: Architecture, modules: Sequence[str]) -> list[tuple[str, Shape]]:
    """The matrices that get an adapter: all linear layers but the output when none is named."""
    takes: Callable[[str], bool]
    if modules:
        takes = lambda name: any(  # noqa: E731
            f".{name}".endswith(f".{module}.weight") for module in modules
        )
    else:
        takes = model.is_in_layer
    return [(name, shape) for name, shape in model.tensors if len(shape) == _MATRIX and takes(name)]


def _lora(model: Architecture, config: TrainingConfig) -> Trained:
    """W + B A with A of [r, in] and B of [out, r]; DoRA adds a magnitude per output."""
    adapter = kept = 0
    for _, (rows, columns) in lora_targets(model, config.lora_target_modules):
        adapter += config.lora_r * (rows + columns) + (rows if config.use_dora else 0)
        kept += config.lora_r
    linear = [
        math.prod(shape)
        for name, shape in model.tensors
        if len(shape) == _MATRIX and model.is_in_layer(name)
    ]
    return Trained(
        stored=model.parameters + adapter,
        trainable=adapter,
        adapter=adapter,
        quantizable=sum(linear),
        kept_per_token=kept,
        frozen_flops=sum(model.active(name, shape) for name, shape in model.tensors),
        trainable_flops=adapter,
        head_flops=_head_flops(model),
    )


def _head_flops(model: Architecture) -> float:
    return float(model.vocab_size * model.hidden_size)
