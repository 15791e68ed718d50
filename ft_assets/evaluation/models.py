"""Opening and closing a model under test.

What can be wrong with a model's folder is found out before any weights are loaded: a missing file,
a tokenizer without chat template, a length that the model does not have.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ft_assets.evaluation.arguments import VLLM_ARGUMENTS
from ft_assets.evaluation.cache import ResultCache
from ft_assets.evaluation.cache_context import numbers_context
from ft_assets.evaluation.cache_model import CachedModel
from ft_assets.evaluation.chat_lm import chat_scoring_lm
from ft_assets.evaluation.generating_model import GeneratingModel
from ft_assets.evaluation.scoring import ChatModel, encode_row
from ft_assets.evaluation.vllm_lm import open_vllm
from ft_assets.evaluation.vllm_model import (
    free_gpu_share,
    generating_backend,
    vllm_arguments,
    vllm_context,
)
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerBase

    from ft_assets.evaluation.held_out import HeldOutRows
    from ft_assets.evaluation.plan import EvaluationPlan, ModelUnderTest

_log = logging.getLogger(__name__)

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# lm-eval finds "auto" by trying until memory runs out, which on a CPU ends the process.
_CPU_BATCH = "8"


@dataclass(frozen=True)
class CheckedModel:
    """A model whose folder can be evaluated; its weights are not loaded."""

    name: str
    path: Path
    tokenizer: PreTrainedTokenizerBase
    digest: str = ""
    """Of the folder's content; without it no answer is kept."""


def check_model(
    model: ModelUnderTest, plan: EvaluationPlan, rows: HeldOutRows | None
) -> CheckedModel:
    """Read all of a model but its weights, and try its chat template on the first held-out row.

    Raises:
        UserError: the folder cannot be evaluated; names the model, the reason and the remedy.
    """
    who = f"model {model.name} ({model.path})"
    folder = _folder(model, who, subfolder=str(plan.model_args.get("subfolder", "")))
    _check_dtype(plan.model_args)
    generating_backend(plan.backend, plan.model_args, plan.gen_kwargs)
    config, tokenizer = _config_and_tokenizer(folder, who, _trusted(plan))
    _check_kind(config, who)
    _check_length(config, plan.max_length, who)
    if rows is not None:
        _check_template(tokenizer, who)
        try:
            encode_row(tokenizer, rows, rows[0])
        except UserError as error:
            raise UserError(f"{who}: {error}") from error
    return CheckedModel(model.name, Path(model.path), tokenizer, model.digest)


def load(
    model: CheckedModel, plan: EvaluationPlan, on_scored: Callable[[int], None] | None = None
) -> ChatModel:
    """Open the model: in 32 bits on a CPU, as it was saved on a GPU, if the plan says nothing.

    With a cache in the plan, the model answers only what it has not answered before. Its weights
    are read with the first answer that is not known; that raises UserError where they cannot be.

    Raises:
        UserError: transformers cannot read the folder; the cache's folder cannot be written.
    """
    lm = _load(model, plan)
    lm.quiet = plan.verbosity != "DEBUG"
    lm.chat_batch = plan.batch
    lm.on_scored = on_scored
    if generating_backend(plan.backend, plan.model_args, plan.gen_kwargs) == "vllm":
        lm = _with_vllm(lm, model, plan)
    return lm if plan.cache is None or not model.digest else _cached(lm, model, plan)


def backend_of(lm: object, request_type: str, task: str) -> str:
    """What answers these requests of a task: ``hf`` or ``vllm``."""
    chooses: Callable[[str, str], str] | None = getattr(lm, "backend_of", None)
    return "hf" if chooses is None else chooses(request_type, task)


def _load(model: CheckedModel, plan: EvaluationPlan) -> ChatModel:
    import torch

    device = str(plan.model_args.get("device", "cuda" if torch.cuda.is_available() else "cpu"))
    on_cpu = device == "cpu"
    own = {name: plan.model_args[name] for name in plan.model_args if name not in VLLM_ARGUMENTS}
    arguments = {
        "device": device,
        "dtype": "float32" if on_cpu else "auto",
        **own,
        "pretrained": str(model.path),
        "tokenizer": model.tokenizer,
        "trust_remote_code": _trusted(plan),
        "max_length": plan.max_length,
        "batch_size": _CPU_BATCH if on_cpu and plan.batch == "auto" else plan.batch,
        "backend": "causal",
    }
    try:
        lm = chat_scoring_lm()(**arguments)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"model {model.name} ({model.path}) cannot be loaded: {error}") from error
    lm.called = f"model {model.name} ({model.path})"
    return lm


def _with_vllm(lm: ChatModel, model: CheckedModel, plan: EvaluationPlan) -> ChatModel:
    """The model with vLLM beside it, which is loaded when the first text is asked for."""

    def load_other() -> Any:
        free_share = None
        if lm.device.type == "cuda":
            _ = lm.model  # read first: vLLM takes what is left of the GPU's memory
            free_share = free_gpu_share()
        arguments = vllm_arguments(
            plan.model_args,
            path=str(model.path),
            max_length=lm.max_length,
            dtype=lm.dtype_name,
            batch=plan.batch,
            seed=plan.seed,
            free_share=free_share,
        )
        try:
            return open_vllm(arguments)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            _log.warning("vLLM cannot load %s", model.path, exc_info=True)
            who = f"model {model.name} ({model.path})"
            raise UserError(
                f"{who} cannot be loaded in vLLM: {error}; set the evaluation's backend to hf"
            ) from error

    return cast("ChatModel", GeneratingModel(lm, load_other, "vllm"))


def _cached(lm: ChatModel, model: CheckedModel, plan: EvaluationPlan) -> ChatModel:
    """The model with the answers that it gave before."""
    arguments = plan.model_args
    own = {name: arguments[name] for name in arguments if name not in VLLM_ARGUMENTS}
    context = numbers_context(
        own,
        dtype=lm.dtype_name,
        device=lm.device.type,
        max_length=lm.max_length,
        chat_template=lm.tokenizer.chat_template,
    )

    def extra(request_type: str, task: str) -> dict[str, Any]:
        return vllm_context() if backend_of(lm, request_type, task) == "vllm" else {}

    cache = ResultCache(Path(str(plan.cache)), model.digest, context)
    return cast("ChatModel", CachedModel(lm, cache, seed=plan.seed, extra=extra))


def close(lm: object) -> None:
    """End what a model has beside itself: vLLM, which keeps its memory else."""
    closing: Callable[[], None] | None = getattr(lm, "close", None)
    if closing is not None:
        closing()


def release() -> None:
    """Give back the memory of a model that nothing refers to any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _folder(model: ModelUnderTest, who: str, subfolder: str) -> Path:
    folder = Path(model.path) / subfolder
    if not folder.is_dir():
        raise UserError(f"{who}: there is no such folder")
    if not (folder / "config.json").is_file():
        raise UserError(f"{who}: the folder holds no config.json: it is no model")
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        raise UserError(f"{who}: the folder holds no weights ({' or '.join(_WEIGHTS)})")
    return folder


def _trusted(plan: EvaluationPlan) -> bool:
    """Whether code in the model's folder may run: only where the user allowed it by name."""
    return bool(plan.model_args.get("trust_remote_code", False))


def _config_and_tokenizer(
    folder: Path, who: str, trusted: bool
) -> tuple[Any, PreTrainedTokenizerBase]:
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=trusted)
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trusted)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{who} cannot be read: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(
            f"{who}: the tokenizer has no tokenizer.json, which locating the assistant turns "
            "needs: save it as a fast tokenizer"
        )
    return config, tokenizer


def _check_kind(config: Any, who: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{who} is an encoder-decoder ({config.model_type}): only causal language models are "
            "evaluated"
        )


def _check_length(config: Any, wanted: int | None, who: str) -> None:
    text = getattr(config, "text_config", None) or config
    limit = getattr(text, "max_position_embeddings", None)
    if wanted is not None and limit is not None and wanted > limit:
        raise UserError(f"{who}: max_length {wanted} is more than the model's {limit} tokens")


def _check_dtype(model_args: dict[str, Any]) -> None:
    import torch

    for key in ("dtype", "softmax_dtype", "mixed_precision_dtype"):
        name = model_args.get(key)
        known = name is None or isinstance(getattr(torch, str(name), None), torch.dtype)
        if not known and not (key == "dtype" and name == "auto"):
            raise UserError(f"model_args {key} {name!r} is no dtype of torch: set float32 or so")


def _check_template(tokenizer: PreTrainedTokenizerBase, who: str) -> None:
    if not tokenizer.chat_template:
        raise UserError(
            f"{who}: its tokenizer has no chat template, so the held-out chats cannot be scored: "
            "set training.chat_template to a name (such as chatml) or to a Jinja template"
        )
