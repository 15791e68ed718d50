"""A profile of training steps as shares of their wall time.

A module, not a benchmark.
"""

from __future__ import annotations

from typing import Any

PARTS: dict[str, tuple[str, ...]] = {
    "matrix_products": ("aten::mm", "aten::addmm"),
    "attention": (  # in_process/short_row_attention.py; no other layer has products in batches
        "_RowAttention",
        "_RowAttentionBackward",
        "aten::baddbmm",
        "aten::bmm",
        "aten::_softmax",
        "aten::_softmax_backward_data",
        "aten::masked_fill_",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "optimizer_step": ("aten::_fused_adamw_",),
    "gradient_clipping": (  # nothing else in a step takes norms or scales in place
        "aten::linalg_vector_norm",
        "aten::_foreach_norm",
        "aten::mul_",
        "aten::_foreach_mul_",
    ),
    # in_process/cross_entropy.py; but for a sum and a product, which others are too.
    "cross_entropy": (
        "aten::amax",
        "aten::sub",
        "aten::exp_",
        "aten::div_",
        "aten::scatter_add_",
    ),
}


def shares(profiler: Any, seconds: float) -> dict[str, float]:
    """Share of each part; ``norms_and_elementwise`` is every other operator of torch.

    ``outside_torch`` is the rest of the wall time: data, Python, the Trainer and what it reports.
    """
    own = {event.key: event.self_cpu_time_total / 1e6 for event in profiler.key_averages()}
    found = {part: sum(own.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    counted = {name for names in PARTS.values() for name in names}
    operators = sum(t for name, t in own.items() if name.startswith("aten::") or name in counted)
    found["norms_and_elementwise"] = operators - sum(found.values())
    found["outside_torch"] = seconds - operators
    return {part: round(time / seconds, 3) for part, time in found.items()}
