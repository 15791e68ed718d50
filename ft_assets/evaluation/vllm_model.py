"""Generation with vLLM, where it is installed; everything else stays with transformers.

Belongs here: which kind of request runs where, and what vLLM is told about the model. vLLM answers
many prompts at once several times as fast as transformers; for the likelihood of given tokens it
has no such lead and keeps logits of whole prompts, so those stay with lm-eval's Hugging Face model,
as do the held-out rows, whose tokens are ours.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import logging
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from ft_assets.evaluation.arguments import VLLM_ARGUMENTS
from ft_assets.evaluation.plan import HELD_OUT
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ft_assets.evaluation.scoring import ChatModel

_log = logging.getLogger(__name__)

Backend = Literal["hf", "vllm"]

# Of the arguments of lm-eval's Hugging Face model, those that its vLLM model has too.
_SHARED = (
    "add_bos_token",
    "chat_template_args",
    "dtype",
    "enable_thinking",
    "max_batch_size",
    "prefix_token_id",
    "think_end_token",
    "trust_remote_code",
)
# Those that would make vLLM answer for other weights, or cut other text, than transformers.
_IMPOSSIBLE = (
    "autogptq",
    "gptqmodel",
    "mixed_precision_dtype",
    "subfolder",
    "truncation",
    "variant",
)
_FIRST_GPU = ("cuda", "cuda:0")
_DTYPES = ("auto", "bfloat16", "float16", "float32")
_MARGIN = 0.05  # of the GPU, beside what vLLM takes: activations of the other model
_MOST = 0.9


def choose_backend(
    config_backend: str, request_type: str, vllm_installed: bool, cuda: bool
) -> Backend:
    """What answers a kind of request.

    Args:
        config_backend: ``auto``, ``hf`` or ``vllm``.
        request_type: lm-eval's name of it, or ``score_chat``.
        vllm_installed: Whether the package ``vllm`` is there.
        cuda: Whether the model runs on an NVIDIA GPU.

    Raises:
        UserError: ``vllm`` is asked for and cannot run here.
    """
    if config_backend == "vllm":
        if not vllm_installed:
            raise UserError(
                "the evaluation's backend is vllm, and the package vllm is not installed: install "
                "vllm in the image of the evaluation, or set backend: auto"
            )
        if not cuda:
            raise UserError(
                "the evaluation's backend is vllm, which needs a CUDA GPU, and there is none: "
                "evaluate on a GPU, or set backend: auto"
            )
    usable = config_backend != "hf" and vllm_installed and cuda
    return "vllm" if usable and request_type == "generate_until" else "hf"


def vllm_installed() -> bool:
    """Whether the package is there; it is not imported."""
    return find_spec("vllm") is not None


def generating_backend(config_backend: str, model_args: Mapping[str, Any]) -> Backend:
    """What generates text on this machine; to be called before any model is loaded.

    Raises:
        UserError: vLLM is asked for and cannot run here, or arguments of it are set and it does
            not run.
    """
    import torch

    on_gpu = torch.cuda.is_available() and str(model_args.get("device", "cuda")).startswith("cuda")
    chosen = choose_backend(config_backend, "generate_until", vllm_installed(), on_gpu)
    given = sorted(set(model_args) & set(VLLM_ARGUMENTS))
    unlike = _otherwise_than_transformers(model_args) if chosen == "vllm" else None
    if unlike is not None and (config_backend == "vllm" or given):
        raise UserError(unlike)
    if unlike is not None:
        return "hf"
    if chosen == "hf" and given:
        raise UserError(
            f"model_args may not set {given[0]!r}: it is vLLM's, which does not run here (it needs "
            "the package vllm and a CUDA GPU): remove it"
        )
    return chosen


def vllm_arguments(
    model_args: Mapping[str, Any],
    *,
    path: str,
    max_length: int,
    batch: str,
    seed: int,
    free_share: float,
) -> dict[str, Any]:
    """The arguments of lm-eval's ``VLLM`` for the model that its ``HFLM`` has these for.

    Both see the same number of tokens, and vLLM takes the memory that the other left.

    Args:
        model_args: The user's; those of transformers alone (``attn_implementation``, ...) do not
            concern vLLM and are left out.
        path: Local folder of the model.
        max_length: Tokens that the model sees at most.
        batch: Prompts at a time, or ``auto``.
        seed: Of answers that are drawn.
        free_share: Share of the GPU's memory that is free, from 0 to 1.

    Raises:
        UserError: an argument that vLLM cannot follow, or too little memory.
    """
    unlike = _otherwise_than_transformers(model_args)
    if unlike is not None:
        raise UserError(unlike)
    wanted = model_args.get("max_model_len", max_length)
    if wanted != max_length:
        raise UserError(
            f"model_args max_model_len {wanted} differs from the {max_length} tokens that the "
            "model sees in the other tasks: remove it, and vLLM is given the same number"
        )
    shared = {name: model_args[name] for name in _SHARED if name in model_args}
    own = {name: model_args[name] for name in VLLM_ARGUMENTS if name in model_args}
    return {
        "gpu_memory_utilization": _memory_share(free_share),
        **shared,
        **own,
        "dtype": str(model_args.get("dtype", "auto")),
        "pretrained": path,
        "tokenizer": path,
        "trust_remote_code": bool(model_args.get("trust_remote_code", False)),
        "max_model_len": max_length,
        "batch_size": batch,
        "seed": seed,
    }


def _otherwise_than_transformers(model_args: Mapping[str, Any]) -> str | None:
    """Why vLLM would not do what transformers does with these arguments; None where it does."""
    for name in _IMPOSSIBLE:
        if name in model_args:
            return f"model_args {name!r} is unknown to vLLM: set the backend to hf"
    if model_args.get("use_safetensors") is False:
        return (
            "model_args use_safetensors: false is unknown to vLLM, which would answer for other "
            "weights than transformers: remove it, or set the backend to hf"
        )
    device = str(model_args.get("device", "cuda"))
    if device not in _FIRST_GPU:
        return (
            f"model_args device {device!r}: vLLM takes the first GPU that it sees: remove it and "
            "set CUDA_VISIBLE_DEVICES, or set the backend to hf"
        )
    dtype = str(model_args.get("dtype", "auto"))
    if dtype not in _DTYPES:
        return (
            f"model_args dtype {dtype!r} is unknown to vLLM ({', '.join(_DTYPES)}): set one of "
            "them, or the backend to hf"
        )
    return None


def vllm_context(model_args: Mapping[str, Any]) -> dict[str, str]:
    """What answers of vLLM depend on beside what they depend on with transformers."""
    dtype = str(model_args.get("dtype", "auto"))
    return {"backend": "vllm", "vllm": version("vllm"), "dtype": dtype}


def _memory_share(free_share: float) -> float:
    share = round(min(_MOST, free_share - _MARGIN), 2)
    if share < _MARGIN:
        raise UserError(
            f"only {free_share:.0%} of the GPU's memory is free beside the model in transformers: "
            "vLLM needs more; use a larger GPU or set the evaluation's backend to hf"
        )
    return share


def free_gpu_share() -> float:
    """The share of the current GPU's memory that nothing uses."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return free / total


def load_vllm(arguments: Mapping[str, Any]) -> Any:
    """lm-eval's vLLM model."""
    from lm_eval.models.vllm_causallms import VLLM

    return VLLM(**arguments)


class GeneratingModel:
    """lm-eval's Hugging Face model, with the texts of lm-eval's tasks generated by another one.

    Args:
        lm: The model for everything else; what is read or set here is read from or set on it.
        load_other: Loads the model that generates, when the first text is asked for.
        backend: The name of what generates.
    """

    _OWN = frozenset({"_lm", "_other", "_load_other", "_hook", "_backend"})

    def __init__(self, lm: ChatModel, load_other: Callable[[], Any], backend: Backend) -> None:
        self._lm: Any = lm
        self._load_other = load_other
        self._backend: Backend = backend
        self._other: Any = None
        self._hook: Any = None

    def __getattr__(self, name: str) -> Any:
        if name in GeneratingModel._OWN:
            raise AttributeError(name)
        return getattr(self._lm, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in GeneratingModel._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._lm, name, value)

    def backend_of(self, request_type: str, task: str | None = None) -> Backend:
        """What answers the requests of a task."""
        generated = request_type == "generate_until" and task != HELD_OUT
        return self._backend if generated else "hf"

    def set_cache_hook(self, hook: Any) -> None:
        """Have both models tell ``hook`` of their answers."""
        self._hook = hook
        self._lm.set_cache_hook(hook)
        if self._other is not None:
            self._other.set_cache_hook(hook)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Held-out questions go to the first model, all others to the second."""
        own = [request for request in requests if request.task_name == HELD_OUT]
        others = [request for request in requests if request.task_name != HELD_OUT]
        mine = iter(self._lm.generate_until(own, disable_tqdm) if own else [])
        rest = iter(self._generating().generate_until(others, disable_tqdm) if others else [])
        return [next(mine if r.task_name == HELD_OUT else rest) for r in requests]

    def _generating(self) -> Any:
        if self._other is None:
            _log.info("loading the model in %s", self._backend)
            self._other = self._load_other()
            if self._hook is not None:
                self._other.set_cache_hook(self._hook)
        return self._other
