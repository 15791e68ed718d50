"""What kind of work an operator or a kernel does, by its name.

Names are those of PyTorch's operators (``aten::addmm``), of its CUDA kernels and of the libraries
that it calls (cuBLAS, CUTLASS, cuDNN, FlashAttention, NCCL, Liger). A name that nothing here knows
is ``other``; norms and activations that a model writes out in single operations are elementwise.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Category = Literal[
    "matmul",
    "attention",
    "normalisation",
    "optimizer",
    "loss",
    "copies",
    "communication",
    "elementwise",
    "other",
]
Direction = Literal["h2d", "d2h", "d2d", "host", "set"]
"""Of a copy: to the GPU, from it, on it or between GPUs, in main memory; or a fill."""

_RULES: tuple[tuple[Category, str], ...] = (
    ("communication", r"nccl|gloo|c10d::|all_?reduce|all_?gather|reduce_?scatter|broadcast_oop"),
    ("copies", r"^memcpy|^memset"),
    ("optimizer", r"^optimizer\.|adam|sgd|multi_tensor_apply|_foreach_|lion|adafactor"),
    ("attention", r"scaled_dot_product|attention|attn|flash_|fmha|flash::"),
    ("loss", r"softmax|nll_loss|cross_?entropy|logsumexp"),
    ("normalisation", r"(layer|rms|batch|group)_?norm|rsqrt_?norm|weight_norm"),
    (
        "matmul",
        r"gemm|gemv|cutlass|cublas|nvjet|xmma|splitk|aten::(linear|matmul|addmm|mm|bmm|baddbmm"
        r"|addmv|mv|dot|einsum|_scaled_mm)\b|mkldnn(_|::_?)linear|bitsandbytes::",
    ),
    (
        "copies",
        r"aten::(copy_|_to_copy|to|clone|contiguous|cat|stack|fill_|zero_|zeros|zeros_like"
        r"|new_zeros|ones|ones_like|full|empty|empty_like|empty_strided|new_empty\w*|resize_"
        r"|_pin_memory|constant_pad_nd|repeat|repeat_interleave)$"
        r"|catarray|copy_kernel|fillfunctor|copydevicetodevice|direct_copy",
    ),
    (
        "elementwise",
        r"elementwise|vectorized|unrolled|triton_(poi|red)|reduce_kernel|swiglu|rope"
        r"|aten::_?(add|sub|rsub|mul|div|pow|sqrt|rsqrt|neg|exp|log|sin|cos|tanh|abs|mean|sum|silu"
        r"|gelu|relu|sigmoid|where|masked_fill|maximum|minimum|clamp|lerp|addcmul|addcdiv|norm|max"
        r"|min|eq|ne|lt|le|gt|ge|logical_\w+|bitwise_\w+|any|all|isfinite|dropout|native_dropout"
        r"|silu_backward|gelu_backward|tanh_backward|linalg_vector_norm|cumsum|threshold_backward)"
        r"_?$",
    ),
)
_COMPILED: tuple[tuple[Category, re.Pattern[str]], ...] = tuple(
    (category, re.compile(pattern)) for category, pattern in _RULES
)


_DIRECTIONS: dict[str, Direction] = {"htod": "h2d", "dtoh": "d2h", "dtod": "d2d", "ptop": "d2d"}


@lru_cache(maxsize=100_000)
def category_of(name: str) -> Category:
    """The kind of work that a name stands for."""
    lower = name.lower()
    if lower.startswith("autograd::"):
        return "other"  # the engine's own bookkeeping around the operators
    for category, pattern in _COMPILED:
        if pattern.search(lower):
            return category
    return "other"


def direction_of(name: str) -> Direction:
    """Where a copy goes."""
    lower = name.lower()
    for word, direction in _DIRECTIONS.items():
        if word in lower:
            return direction
    if re.search(r"memset|fill|zero|ones|full|empty|resize", lower):
        return "set"
    return "d2d" if "kernel" in lower or "catarray" in lower else "host"


def work_of_children(name: str) -> Category | None:
    """The kind of work of all that runs inside, where the outer name says it better."""
    category = category_of(name)
    return category if category in ("optimizer", "attention", "loss", "normalisation") else None
