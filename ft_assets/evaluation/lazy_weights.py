"""lm-eval's Hugging Face model, whose weights are read when the first answer needs them.

Where all answers are known (a retry, an unchanged base model, another task that asks the same), the
weights of a large model would be read for nothing. What lm-eval asks of a model besides answers
(its length, its tokenizer, its device) is known from its configuration.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
import logging
from contextlib import suppress
from typing import Any, cast

from resources.errors import UserError

_log = logging.getLogger(__name__)

# With these, the type of the loaded weights is not the one that the configuration names.
_OTHER_WEIGHTS = (
    "autogptq",
    "delta",
    "gguf_file",
    "gptqmodel",
    "load_in_4bit",
    "load_in_8bit",
    "peft",
    "quantization_config",
)


class _NotRead:
    """What stands for the model while lm-eval's constructor runs."""

    def to(self, _device: Any) -> None:
        """The weights will be put there when they are read."""


@functools.cache
def lazy_lm() -> Any:
    """The class; lm-eval is imported here."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.utils import resolve_max_length
    from lm_eval.models.utils_hf import get_dtype
    from safetensors import SafetensorError

    class LazyLM(cast("Any", HFLM)):
        """As lm-eval's own, but for the moment at which ``model`` is there."""

        _arguments: dict[str, Any] | None = None
        """How the weights are to be read; None once they are."""
        _constructed = False
        _model: Any
        called = "the model"
        """What messages call it."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self._constructed = True

        def _create_model(self, **arguments: Any) -> None:
            self._arguments, self._model = arguments, _NotRead()

        @property
        def model(self) -> Any:
            """The model itself, which is read now if it was not before.

            Raises:
                UserError: transformers cannot load the folder.
            """
            if self._constructed:
                self.read_weights()
            return super().model

        def read_weights(self) -> None:
            """Read the weights, if they were not.

            To be called before what halves a batch when memory runs out, or computes in another
            mode: neither is meant for reading.

            Raises:
                UserError: transformers cannot load the folder.
            """
            if self._arguments is None:
                return
            _log.info("reading the weights")
            arguments = self._arguments
            try:
                super()._create_model(**arguments)
            except (OSError, ValueError, ImportError, SafetensorError) as error:
                raise UserError(f"{self.called} cannot be loaded: {error}") from error
            self._model.eval()
            self._model.tie_weights()
            if not arguments.get("parallelize"):
                with suppress(ValueError):  # quantized weights are there, and cannot be moved
                    self._model.to(self.device)
            self._arguments = None

        @property
        def max_length(self) -> int:
            """Tokens that the model sees at most, from its configuration."""
            if self._max_length:
                return self._max_length
            default = self._DEFAULT_MAX_LENGTH
            return resolve_max_length(self.config, self.tokenizer, default=default)

        @property
        def dtype_name(self) -> str:
            """The type of the weights, such as ``torch.bfloat16``.

            They are read for it where the configuration does not tell.
            """
            known = None if self._arguments is None else self._promised_dtype(self._arguments)
            return str(self.model.dtype if known is None else known)

        def _promised_dtype(self, arguments: dict[str, Any]) -> Any:
            if any(arguments.get(name) for name in _OTHER_WEIGHTS):
                return None
            if arguments["dtype"] not in (None, "auto"):
                return get_dtype(arguments["dtype"])
            nested = getattr(self.config, "text_config", None)  # parts may differ in their types
            return getattr(self.config, "dtype", None) if nested is None else None

    return LazyLM
