"""Which ``model_args`` and ``gen_kwargs`` an evaluation accepts.

Belongs here: the allowed names and the reason for each refusal, checked without loading anything.
Every accepted argument reaches lm-eval or transformers; none is ignored.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The pipeline sets these itself: whatever the user allows, a report must be about the models, the
# tokenizers and the settings that it names.
_OWNED = {
    "pretrained": "the models to compare are the pipeline's own",
    "tokenizer": "each model is evaluated with the tokenizer it was saved with",
    "peft": "evaluate the merged model: the adapter must be part of the model folder",
    "delta": "evaluate the model itself, not a difference of weights",
    "gguf_file": "convert the model to safetensors first",
    "revision": "a model is a local folder here: choose the revision where the model is fetched",
    "batch_size": "set the evaluation's batch instead",
    "max_length": "each model sees as many tokens as its own config says: remove it",
    "backend": "only causal language models are evaluated",
}
# Refused unless the user names them in allow_model_args.
_BY_NAME = {
    "trust_remote_code": "code from a model repository is not run",
    "subfolder": "it evaluates another folder than the one whose digest is in the report",
    "variant": "it evaluates other weights than those that the folder has by default",
    "autogptq": "it reads the weights in another way than the pipeline wrote them",
    "gptqmodel": "it reads the weights in another way than the pipeline wrote them",
    "use_safetensors": "a false one reads pickled weights, which run code while they are read",
}
VLLM_ARGUMENTS = (
    "data_parallel_size",
    "gpu_memory_utilization",
    "max_model_len",
    "tensor_parallel_size",
)
"""Arguments of lm-eval's vLLM model that a user may set."""
_GONE = {"swap_space": "vLLM no longer has it (lm-eval would ignore it)"}
_ACCEPTED = (
    # of lm-eval's Hugging Face model
    "add_bos_token",
    "chat_template_args",
    "device",
    "dtype",
    "enable_thinking",
    "logits_cache",
    "max_batch_size",
    "max_cpu_memory",
    "max_memory_per_gpu",
    "mixed_precision_dtype",
    "offload_folder",
    "parallelize",
    "prefix_token_id",
    "softmax_dtype",
    "think_end_token",
    "truncation",
    # of transformers' from_pretrained
    "attn_implementation",
    "device_map",
)

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""lm-eval's names for the longest answer."""
_GENERATION = (
    *LENGTHS,
    "bad_words_ids",
    "do_sample",
    "early_stopping",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "length_penalty",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_beams",
    "renormalize_logits",
    "repetition_penalty",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "until",
)


def check_model_args(
    model_args: Mapping[str, Any], allow: Iterable[str] = (), backend: str = "hf"
) -> None:
    """Refuse the model arguments that are not the user's to set, or that nothing would read.

    Args:
        model_args: The user's arguments of lm-eval's model.
        allow: Names of arguments that the user takes responsibility for (``allow_model_args``):
            those that run code of the model or change what is evaluated. What the pipeline sets
            itself (``pretrained``, ``tokenizer``, ...) stays refused.
        backend: ``hf``, ``vllm`` or ``auto``: vLLM's arguments are refused with ``hf``.

    Raises:
        UserError: names the first such argument and why it is refused.
    """
    allowed = frozenset(allow)
    _check_allowed(allowed)
    for name in model_args:
        if name in _OWNED:
            raise UserError(f"model_args may not set {name!r}: {_OWNED[name]}")
        if name in _GONE:
            raise UserError(f"model_args may not set {name!r}: {_GONE[name]}: remove it")
        if name in _BY_NAME and name not in allowed and not _is_safe(name, model_args[name]):
            raise UserError(
                f"model_args may not set {name!r}: {_BY_NAME[name]}; if you want it, add {name!r} "
                "to allow_model_args"
            )
        if name in VLLM_ARGUMENTS and backend == "hf":
            raise UserError(
                f"model_args may not set {name!r}: it is vLLM's, and models are evaluated with "
                "transformers: remove it or set the backend to vllm"
            )
        if name not in (*_ACCEPTED, *_BY_NAME, *VLLM_ARGUMENTS):
            raise UserError(f"model_args has the unknown key {name!r}{_hint(name, _ACCEPTED)}")
    if not isinstance(model_args.get("trust_remote_code", False), bool):
        value = model_args["trust_remote_code"]
        raise UserError(f"model_args trust_remote_code must be true or false, not {value!r}")


def _is_safe(name: str, value: Any) -> bool:
    return name == "use_safetensors" and value is True


def _check_allowed(allowed: frozenset[str]) -> None:
    for name in sorted(allowed):
        if name in _OWNED:
            raise UserError(f"allow_model_args may not name {name!r}: {_OWNED[name]}")
        if name not in _BY_NAME:
            raise UserError(
                f"allow_model_args names {name!r}, which needs no permission or does not exist "
                f"(known: {', '.join(sorted(_BY_NAME))}): remove it"
            )


def normal_gen_kwargs(gen_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The generation arguments in the form that overrides every task's own.

    lm-eval knows four names for the longest answer and prefers one of them, and a task's
    ``do_sample: false`` wins over a temperature. So the length is named ``max_gen_toks`` and a
    temperature above 0 brings ``do_sample``: what is set here is what happens.

    Raises:
        UserError: an unknown key, a bad value, or two keys that contradict each other.
    """
    for name in gen_kwargs:
        if name not in _GENERATION:
            raise UserError(f"gen_kwargs has the unknown key {name!r}{_hint(name, _GENERATION)}")
    normal = {name: value for name, value in gen_kwargs.items() if name not in LENGTHS}
    return {**normal, **_length(gen_kwargs), **_sampling(gen_kwargs)}


def _length(gen_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    given = [name for name in LENGTHS if name in gen_kwargs]
    if len(given) > 1:
        raise UserError(f"gen_kwargs sets both {given[0]!r} and {given[1]!r}: keep one of them")
    if not given:
        return {}
    length = gen_kwargs[given[0]]
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise UserError(f"gen_kwargs {given[0]} must be a whole number from 1 up, not {length!r}")
    return {"max_gen_toks": length}


def _sampling(gen_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    temperature, sample = gen_kwargs.get("temperature"), gen_kwargs.get("do_sample")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | None):
        raise UserError(f"gen_kwargs temperature must be a number, not {temperature!r}")
    if temperature is not None and temperature < 0:
        raise UserError(f"gen_kwargs temperature must be 0 or more, not {temperature!r}")
    if sample is False and temperature:
        raise UserError(
            f"gen_kwargs has do_sample false and temperature {temperature}: a temperature has no "
            "effect without sampling; remove one of them"
        )
    if sample is True and not temperature:
        raise UserError("gen_kwargs has do_sample true: give it a temperature above 0 as well")
    if temperature is None:
        return {}
    return {"temperature": float(temperature), "do_sample": temperature > 0}


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f" (known: {', '.join(sorted(known))})"
