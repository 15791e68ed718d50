"""A profile of training steps as shares of their wall time.

A module, not a benchmark.
"""

from __future__ import annotations

from typing import Any

ATTENTION = (
    "_RowAttention",  # in_process/short_row_attention.py
    "_RowAttentionBackward",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
)
"""All that runs inside of these is attention, whatever it is."""
PARTS: dict[str, tuple[str, ...]] = {
    "matrix_products": ("aten::mm", "aten::addmm"),
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
    part_of = {name: part for part, names in PARTS.items() for name in names}
    found = dict.fromkeys(("matrix_products", "attention", *PARTS, "norms_and_elementwise"), 0.0)
    for event in profiler.events():
        if _is_attention(event):
            part = "attention"
        elif event.name.startswith("aten::"):
            part = part_of.get(event.name, "norms_and_elementwise")
        else:
            continue
        found[part] += event.self_cpu_time_total / 1e6
    found["outside_torch"] = seconds - sum(found.values())
    return {part: round(time / seconds, 3) for part, time in found.items()}


def _is_attention(event: Any) -> bool:
    while event is not None:
        if event.name in ATTENTION:
            return True
        event = event.cpu_parent
    return False
