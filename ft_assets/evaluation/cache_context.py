"""What of an evaluation's settings changes the numbers that a model gives.

Belongs here: the choice, with its reasons. Two evaluations with the same context may share answers;
with another context nothing is found.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARIES = ("lm-eval", "torch", "transformers")

# Where the model lies and how much of it at a time. They move results by rounding alone, as another
# machine of the same kind does, and a court that could be swayed by that would be no court.
_HARMLESS = frozenset(
    {
        "device",  # its kind (cpu, cuda) is in the context
        "device_map",
        "logits_cache",
        "max_batch_size",
        "max_cpu_memory",
        "max_memory_per_gpu",
        "offload_folder",
        "parallelize",
    }
)


def numbers_context(
    model_args: Mapping[str, Any],
    *,
    dtype: str,
    device: str,
    max_length: int,
    chat_template: str | Mapping[str, str] | None,
) -> dict[str, Any]:
    """What answers depend on beside the model's content and the request.

    The batch size is left out on purpose: it changes which rows share a forward pass, and so the
    last digits, never what is computed; ``auto`` picks another one on every machine and would make
    every retry start from nothing. So is the number of threads. What the user gives as ``dtype``
    may be ``auto``: the type in use counts. So do all model arguments not known to be harmless.

    Args:
        model_args: The user's arguments of lm-eval's model.
        dtype: Of the loaded weights, such as ``torch.bfloat16``.
        device: Kind of device: ``cpu`` or ``cuda``.
        max_length: Tokens that the model sees at most.
        chat_template: The template in use (Jinja), or several by name.
    """
    counted = {name: model_args[name] for name in sorted(model_args) if name not in _HARMLESS}
    counted.pop("dtype", None)
    template = json.dumps(chat_template, sort_keys=True)
    return {
        "model_args": counted,
        "dtype": dtype,
        "device": device,
        "max_length": max_length,
        "chat_template": hashlib.sha256(template.encode()).hexdigest(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
