"""lm-eval's vLLM model as it is used here: its texts are those that transformers would give.

Belongs here: what lm-eval asks of vLLM otherwise than of transformers, made the same. Which model
is asked at all is said in :mod:`~ft_assets.evaluation.vllm_model`.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib.metadata
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ft_assets.evaluation.vllm_build import version_of, vllm_build, vllm_version
from ft_assets.evaluation.vllm_model import settings_for_vllm

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

_ALWAYS = ("repetition_penalty",)
_OF_DRAWS = ("min_p", "top_k", "top_p")
_TOP_K = 50  # of transformers, where neither the task nor the model says anything


def open_vllm(arguments: Mapping[str, Any]) -> Any:
    """The model with these arguments of lm-eval's ``VLLM``."""
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    if vllm_build() == "cpu":
        # In this process: the two that it starts otherwise would take longer than many a task.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    with _version_known_to_lm_eval():
        from lm_eval.models.vllm_causallms import VLLM

    class TextLM(cast("Any", VLLM)):
        """Asked as transformers would be."""

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            defaults = generation_defaults(str(arguments["pretrained"]))
            asked = [asked_of_vllm(request, defaults) for request in requests]
            texts = super().generate_until(asked, disable_tqdm)
            return [without(special_tokens(self.tokenizer), text) for text in texts]

        def close(self) -> None:
            """End the engine: it keeps its memory, also when nothing refers to it any more."""
            if self.data_parallel_size == 1:
                self.model.llm_engine.engine_core.shutdown()

    lm = TextLM(**arguments, use_tqdm_on_load=False)
    if lm.data_parallel_size == 1:
        lm.model.generate = _without_bar(lm.model.generate)
    return lm


def generation_defaults(folder: str) -> dict[str, Any]:
    """How the model wants to be asked, where a task says nothing.

    transformers follows the model's ``generation_config.json`` unasked; lm-eval's ``VLLM`` does so
    with the tokens that end a text alone.
    """
    from transformers import GenerationConfig

    try:
        config = GenerationConfig.from_pretrained(folder)
    except OSError:
        return {"top_k": _TOP_K}
    own = {name: getattr(config, name, None) for name in (*_ALWAYS, *_OF_DRAWS)}
    return {"top_k": _TOP_K, **{name: own[name] for name in own if own[name] is not None}}


def asked_of_vllm(request: Any, defaults: Mapping[str, Any]) -> Any:
    """The request with the model's defaults; a text that is drawn gets a seed of its own.

    The seed is from torch's generator, so draws follow from the seed that was set for them, as
    those of transformers do: vLLM's own generator stands where earlier requests have left it.

    Raises:
        UserError: a setting that vLLM does not have.
    """
    import torch

    prompt, settings = request.args
    settings = settings_for_vllm(settings, f"task {request.task_name!r}")
    drawn = bool(settings.get("do_sample", settings.get("temperature")))
    names = (*_ALWAYS, *_OF_DRAWS) if drawn else _ALWAYS
    own = {name: defaults[name] for name in names if name in defaults}
    seed = {"seed": int(torch.randint(2**31, ()))} if drawn else {}
    return replace(request, arguments=(prompt, {**own, **settings, **seed}))


def special_tokens(tokenizer: Any) -> list[str]:
    """What transformers leaves out of a text."""
    added: Mapping[int, Any] = tokenizer.added_tokens_decoder
    return [token.content for token in added.values() if token.special]


def without(tokens: Iterable[str], text: str) -> str:
    """The text without these tokens.

    vLLM has to spell them out, for a text may have to end at one.
    """
    for token in tokens:
        text = text.replace(token, "")
    return text


def _without_bar(generate: Callable[..., Any]) -> Callable[..., Any]:
    """vLLM divides by the time that its progress bar took, which is 0 where bars are turned off."""

    def quiet(*arguments: Any, **options: Any) -> Any:
        return generate(*arguments, **{**options, "use_tqdm": False})

    return quiet


@contextmanager
def _version_known_to_lm_eval() -> Generator[None]:
    """Answer lm-eval, which asks for the version of ``vllm`` by that name.

    What it asks with, it keeps from its import on.
    """

    def version(name: str) -> str:
        return vllm_version() if name == "vllm" else version_of(name)

    importlib.metadata.version = version
    try:
        yield
    finally:
        importlib.metadata.version = version_of
