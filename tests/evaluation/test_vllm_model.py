"""Which backend answers what, and what vLLM is told. vLLM itself does not run here."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ft_assets.evaluation import vllm_model
from ft_assets.evaluation.arguments import check_model_args
from ft_assets.evaluation.cache import ResultCache
from ft_assets.evaluation.cache_model import CachedModel
from ft_assets.evaluation.models import backend_of, check_model, load
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.vllm_model import (
    GeneratingModel,
    choose_backend,
    generating_backend,
    vllm_arguments,
)
from resources.errors import UserError

MakePlan = Callable[..., EvaluationPlan]
GENERATION, LIKELIHOOD = "generate_until", "loglikelihood"


@pytest.mark.parametrize(
    ("config", "kind", "installed", "cuda", "chosen"),
    [
        ("auto", GENERATION, True, True, "vllm"),
        ("auto", GENERATION, True, False, "hf"),
        ("auto", GENERATION, False, True, "hf"),
        ("auto", LIKELIHOOD, True, True, "hf"),
        ("auto", "loglikelihood_rolling", True, True, "hf"),
        ("auto", "score_chat", True, True, "hf"),
        ("hf", GENERATION, True, True, "hf"),
        ("vllm", GENERATION, True, True, "vllm"),
        ("vllm", LIKELIHOOD, True, True, "hf"),
        ("vllm", "score_chat", True, True, "hf"),
    ],
)
def test_text_is_generated_by_vllm_where_it_can_run(
    config: str, kind: str, installed: bool, cuda: bool, chosen: str
) -> None:
    assert choose_backend(config, kind, installed, cuda) == chosen


@pytest.mark.parametrize(
    ("installed", "cuda", "said"),
    [
        (False, True, "the package vllm is not installed: install vllm"),
        (True, False, "needs a CUDA GPU, and there is none: evaluate on a GPU"),
    ],
)
def test_vllm_that_cannot_run_is_refused_with_the_remedy(
    installed: bool, cuda: bool, said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        choose_backend("vllm", LIKELIHOOD, installed, cuda)
    assert said in str(refusal.value)
    assert "backend: auto" in str(refusal.value)


def test_a_model_on_the_cpu_is_not_for_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(vllm_model, "vllm_installed", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert generating_backend("auto", {}) == "vllm"
    assert generating_backend("auto", {"device": "cuda:0"}) == "vllm"
    assert generating_backend("auto", {"device": "cpu"}) == "hf"
    assert generating_backend("auto", {"gpu_memory_utilization": 0.5}) == "vllm"


@pytest.mark.parametrize(
    "model_args",
    [{"device": "cuda:1"}, {"use_safetensors": False}, {"mixed_precision_dtype": "float16"}],
)
def test_what_vllm_would_do_otherwise_stays_with_transformers_unless_vllm_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, model_args: dict[str, Any]
) -> None:
    import torch

    monkeypatch.setattr(vllm_model, "vllm_installed", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (name,) = model_args
    assert generating_backend("auto", model_args) == "hf"
    with pytest.raises(UserError, match=name):
        generating_backend("vllm", model_args)
    with pytest.raises(UserError, match=name):
        generating_backend("auto", {**model_args, "tensor_parallel_size": 2})


def test_arguments_of_vllm_without_vllm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_model, "vllm_installed", lambda: False)
    with pytest.raises(UserError, match="may not set 'tensor_parallel_size': it is vLLM's, which"):
        generating_backend("auto", {"dtype": "auto", "tensor_parallel_size": 2})


def arguments(model_args: dict[str, Any], **fields: Any) -> dict[str, Any]:
    defaults = {"path": "/m", "max_length": 4096, "batch": "auto", "seed": 7, "free_share": 0.8}
    return vllm_arguments(model_args, **{**defaults, **fields})


def test_what_vllm_is_told_when_the_user_says_nothing() -> None:
    assert arguments({}) == {
        "pretrained": "/m",
        "tokenizer": "/m",
        "trust_remote_code": False,
        "dtype": "auto",
        "max_model_len": 4096,
        "batch_size": "auto",
        "seed": 7,
        "gpu_memory_utilization": 0.75,
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dtype": "bfloat16"}, {"dtype": "bfloat16"}),
        ({"gpu_memory_utilization": 0.4}, {"gpu_memory_utilization": 0.4}),
        ({"tensor_parallel_size": 2}, {"tensor_parallel_size": 2}),
        ({"data_parallel_size": 4}, {"data_parallel_size": 4}),
        ({"max_model_len": 4096}, {"max_model_len": 4096}),
        ({"add_bos_token": True}, {"add_bos_token": True}),
        ({"prefix_token_id": 3}, {"prefix_token_id": 3}),
        ({"max_batch_size": 32}, {"max_batch_size": 32}),
        ({"enable_thinking": True, "think_end_token": "x"}, {"enable_thinking": True}),
        ({"chat_template_args": {"a": 1}}, {"chat_template_args": {"a": 1}}),
        ({"trust_remote_code": True}, {"trust_remote_code": True}),
    ],
)
def test_each_argument_reaches_vllm_by_its_name(
    given: dict[str, Any], told: dict[str, Any]
) -> None:
    assert told.items() <= arguments(given).items()


@pytest.mark.parametrize(
    "name", ["attn_implementation", "device_map", "logits_cache", "parallelize", "softmax_dtype"]
)
def test_what_concerns_transformers_alone_is_not_told(name: str) -> None:
    assert arguments({name: True}) == arguments({})


def signature() -> tuple[set[str], bool]:
    """Parameters of lm-eval's VLLM, and whether it passes others on to vLLM itself."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "models" / "vllm_causallms.py"
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    (vllm,) = (node for node in classes if node.name == "VLLM")
    (init,) = (
        node for node in vllm.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    return {argument.arg for argument in init.args.args}, init.args.kwarg is not None


def test_lm_eval_knows_every_argument_that_it_is_given() -> None:
    known, passes_on = signature()
    assert passes_on
    everything = dict.fromkeys((*vllm_model._SHARED, *vllm_model.VLLM_ARGUMENTS), 4096)
    told = arguments({**everything, "dtype": "auto"})
    assert set(told) - known == {"gpu_memory_utilization"}  # of vLLM's own LLM


@pytest.mark.parametrize(
    ("given", "fields", "said"),
    [
        ({"dtype": "float64"}, {}, "dtype 'float64' is unknown to vLLM"),
        ({"subfolder": "x"}, {}, "'subfolder' is unknown to vLLM: set the backend to hf"),
        ({"truncation": True}, {}, "'truncation' is unknown to vLLM"),
        ({"mixed_precision_dtype": "bfloat16"}, {}, "'mixed_precision_dtype' is unknown to vLLM"),
        ({"use_safetensors": False}, {}, "use_safetensors: false is unknown to vLLM"),
        ({"device": "cuda:1"}, {}, "device 'cuda:1': vLLM takes the first GPU that it sees"),
        ({"max_model_len": 99}, {}, "max_model_len 99 differs from the 4096 tokens"),
        ({"max_model_len": 99}, {}, "remove it, and vLLM is given the same number"),
        ({}, {"free_share": 0.06}, "only 6% of the GPU's memory is free"),
    ],
)
def test_what_vllm_cannot_follow_is_refused(
    given: dict[str, Any], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        arguments(given, **fields)
    assert said in str(refusal.value)


@pytest.mark.parametrize("backend", ["auto", "vllm"])
def test_arguments_of_vllm_are_accepted_with_its_backends(backend: str) -> None:
    check_model_args({"gpu_memory_utilization": 0.8}, backend=backend)


@pytest.mark.parametrize(
    ("model_args", "allow", "said"),
    [
        ({"gpu_memory_utilization": 0.8}, (), "it is vLLM's"),
        ({"swap_space": 4}, (), "vLLM no longer has it"),
        ({"trust_remote_code": True}, (), "add 'trust_remote_code' to allow_model_args"),
        ({"subfolder": "x"}, ("trust_remote_code",), "add 'subfolder' to allow_model_args"),
        ({"pretrained": "x"}, (), "the models to compare are the pipeline's own"),
        ({}, ("pretrained",), "allow_model_args may not name 'pretrained'"),
        ({}, ("dtype",), "names 'dtype', which needs no permission"),
        ({"trust_remote_code": "yes"}, ("trust_remote_code",), "must be true or false"),
    ],
)
def test_what_is_not_the_users_to_set(
    model_args: dict[str, Any], allow: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        check_model_args(model_args, allow)
    assert said in str(refusal.value)


def test_what_the_user_allows_by_name_is_accepted() -> None:
    check_model_args({"trust_remote_code": True, "variant": "a"}, ["trust_remote_code", "variant"])


def opened(make_plan: MakePlan, folder: Path) -> Any:
    plan = make_plan(models=[{"name": "m", "path": str(folder)}], tasks=["x"])
    return load(check_model(plan.models[0], plan, None), plan)


def prompts(*tasks: str) -> list[Any]:
    from lm_eval.api.instance import Instance

    settings = {"until": ["<never>"], "max_gen_toks": 6, "do_sample": False}
    return [
        Instance("generate_until", {}, (f"Say {n} to me", settings), 0, (task, n, 1))
        for n, task in enumerate(tasks)
    ]


def test_texts_come_from_the_other_model_and_likelihoods_do_not(
    make_plan: MakePlan, base_model: Path, tuned_model: Path
) -> None:
    from lm_eval.api.instance import Instance

    first, other = opened(make_plan, base_model), opened(make_plan, tuned_model)
    loaded: list[int] = []
    both: Any = GeneratingModel(first, lambda: loaded.append(1) or other, "vllm")
    ask = [Instance("loglikelihood", {}, ("a question", " an answer"), 0, ("t", 0, 1))]
    assert both.loglikelihood(ask) == first.loglikelihood(ask) != other.loglikelihood(ask)
    assert loaded == []
    asked = prompts("echo", "echo", "echo")
    assert both.generate_until(asked) == other.generate_until(asked) != first.generate_until(asked)
    both.generate_until(asked)
    assert loaded == [1]
    assert [backend_of(both, kind, "echo") for kind in (GENERATION, LIKELIHOOD)] == ["vllm", "hf"]
    assert backend_of(both, GENERATION, "held_out") == "hf"
    assert backend_of(first, GENERATION, "echo") == "hf"


def test_answers_of_one_backend_are_not_those_of_the_other(
    make_plan: MakePlan, base_model: Path, tuned_model: Path, tmp_path: Path
) -> None:
    first, other = opened(make_plan, base_model), opened(make_plan, tuned_model)

    def cached(lm: Any) -> Any:
        def extra(kind: str, task: str) -> dict[str, str]:
            backend = backend_of(lm, kind, task)
            return {} if backend == "hf" else {"backend": backend}

        cache = ResultCache(tmp_path / "cached", "ab" * 32, {})
        return CachedModel(cast("Any", lm), cache, seed=1, extra=extra)

    asked = prompts("echo", "echo")
    with_hf, with_vllm = cached(first), cached(GeneratingModel(first, lambda: other, "vllm"))
    answers = with_hf.generate_until(asked)
    assert with_vllm.generate_until(asked) != answers
    assert (with_vllm.hits, with_vllm.asked) == (0, 2)
    again = cached(GeneratingModel(first, lambda: other, "vllm"))
    assert again.generate_until(asked) == with_vllm.generate_until(asked)
    assert again.asked == 0
