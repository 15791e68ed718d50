"""The tensors of a model that is being trained, to a file and back, bit for bit.

``save_pretrained`` is no way to keep them: it writes what transformers knows by name, and OSFT's
factors are not among that; tied tensors come back untied or are reported missing.
"""

from __future__ import annotations

# torch and safetensors have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ft_assets.training.in_process.settings import Settings

WEIGHTS = "weights.safetensors"


def state_of(model: Any, settings: Settings) -> dict[str, torch.Tensor]:
    """The tensors by name, each once: a tied one under its first name.

    Buffers that no model file keeps are among them: OSFT's hold the first decomposition, and
    another machine's would not be the same.

    For LoRA the adapter alone, unless its initialization has changed the base model's weights
    (PiSSA, OLoRA and the like): those of the base model can be loaded again.
    """
    initialized = settings.init_lora_weights
    adapter_alone = settings.algorithm == "lora_sft" and (
        isinstance(initialized, bool) or initialized == "gaussian"
    )
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    everything = {**model.state_dict(keep_vars=True), **dict(model.named_buffers())}
    for name, tensor in everything.items():
        if id(tensor) in seen or (adapter_alone and not tensor.requires_grad):
            continue
        seen.add(id(tensor))
        found[name] = tensor
    return found


def save_state(model: Any, settings: Settings, file: Path) -> None:
    """Write the tensors."""
    tensors = {name: t.detach().contiguous() for name, t in state_of(model, settings).items()}
    save_file(tensors, file, metadata={"format": "pt"})


@torch.no_grad()
def load_state(model: Any, settings: Settings, file: Path) -> None:
    """Put them back in place, so that an optimizer that holds the parameters keeps them.

    Raises:
        ValueError: the file is of another model.
    """
    own = state_of(model, settings)
    with safe_open(file, framework="pt") as stored:
        differing = sorted(own.keys() ^ set(stored.keys()))
        if differing:
            raise ValueError(f"{file} is of another model: {differing[0]} is only in one of them")
        for name, tensor in own.items():
            value = stored.get_tensor(name)
            if value.shape != tensor.shape or value.dtype != tensor.dtype:
                raise ValueError(
                    f"{file} is of another model: {name} is {value.dtype} {tuple(value.shape)} "
                    f"there and {tensor.dtype} {tuple(tensor.shape)} here"
                )
            tensor.copy_(value)
