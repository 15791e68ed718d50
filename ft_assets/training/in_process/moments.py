"""AdamW's two moments, made before the training begins."""

from __future__ import annotations

# torch has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
import torch


def make_moments(adamw: torch.optim.AdamW) -> None:
    """Make AdamW's state now, as its first step would.

    Made then, it would lie scattered where that step's activations were, and the next step's would
    find no room between, so that the peak is higher.

    Args:
        adamw: fused, and without a state of its own yet.
    """
    for group in adamw.param_groups:
        for parameter in group["params"]:
            adamw.state[parameter].update(
                step=torch.zeros((), dtype=torch.float32, device=parameter.device),
                exp_avg=torch.zeros_like(parameter),
                exp_avg_sq=torch.zeros_like(parameter),
            )
